"""The IQCR-MI model: importing this package registers it with the Auto classes of transformers."""

from transformers import AutoConfig, AutoModel, AutoModelForTokenClassification

from .configuration_iqcr import IQCRConfig
from .crf import LinearChainCRF
from .modeling_iqcr import IQCRForTokenClassification, IQCRModel, IQCRPreTrainedModel

# `register` makes the installed classes known to Auto classes; `register_for_auto_class` makes `save_pretrained` copy
# the source files. A checkpoint that carries one without the other points to files that are not there.
AutoConfig.register(IQCRConfig.model_type, IQCRConfig)
AutoModel.register(IQCRConfig, IQCRModel)
AutoModelForTokenClassification.register(IQCRConfig, IQCRForTokenClassification)
IQCRConfig.register_for_auto_class()
IQCRModel.register_for_auto_class("AutoModel")
IQCRForTokenClassification.register_for_auto_class("AutoModelForTokenClassification")

__all__ = ["IQCRConfig", "IQCRForTokenClassification", "IQCRModel", "IQCRPreTrainedModel", "LinearChainCRF"]
