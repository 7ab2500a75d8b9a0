"""The systems that IQCR-MI is compared with: importing this package registers them with the Auto classes."""

from transformers import AutoConfig, AutoModelForTokenClassification, AutoProcessor

from .base import ZooConfig, ZooForTokenClassification
from .systems.bert_crf import BertCRFConfig, BertCRFForTokenClassification
from .systems.lstm_crf import LSTMCRFConfig, LSTMCRFForTokenClassification
from .systems.tpm_mi import TPMConfig, TPMForTokenClassification
from .systems.umt import UMTConfig, UMTForTokenClassification
from .text_encoders import LstmTextConfig, LstmTextModel
from .word_level import WordLevelProcessor, ZooProcessor

# Every system by its class; a program finds it by its configuration's `model_type`.
SYSTEMS = (
    BertCRFForTokenClassification,
    LSTMCRFForTokenClassification,
    TPMForTokenClassification,
    UMTForTokenClassification,
)

for system in SYSTEMS:
    AutoConfig.register(system.config_class.model_type, system.config_class)
    AutoModelForTokenClassification.register(system.config_class, system)
    AutoProcessor.register(
        system.config_class, WordLevelProcessor if system.config_class.reads_words else ZooProcessor
    )

__all__ = [
    "SYSTEMS",
    "BertCRFConfig",
    "BertCRFForTokenClassification",
    "LSTMCRFConfig",
    "LSTMCRFForTokenClassification",
    "LstmTextConfig",
    "LstmTextModel",
    "TPMConfig",
    "TPMForTokenClassification",
    "UMTConfig",
    "UMTForTokenClassification",
    "WordLevelProcessor",
    "ZooConfig",
    "ZooForTokenClassification",
    "ZooProcessor",
]
