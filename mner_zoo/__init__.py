"""The systems that IQCR-MI is compared with: importing this package registers them with the Auto classes."""

from transformers import AutoConfig, AutoModelForTokenClassification, AutoProcessor

from processing_iqcr import IQCRProcessor

from .base import ZooConfig, ZooForTokenClassification
from .systems.bert_crf import BertCRFConfig, BertCRFForTokenClassification

# Every system, by its class; tests and programs find it by its configuration's `model_type`.
SYSTEMS = (BertCRFForTokenClassification,)

for system in SYSTEMS:
    AutoConfig.register(system.config_class.model_type, system.config_class)
    AutoModelForTokenClassification.register(system.config_class, system)
    AutoProcessor.register(system.config_class, IQCRProcessor)

__all__ = [
    "SYSTEMS",
    "BertCRFConfig",
    "BertCRFForTokenClassification",
    "ZooConfig",
    "ZooForTokenClassification",
]
