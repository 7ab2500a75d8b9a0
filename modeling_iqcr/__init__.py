"""The IQCR-MI model: importing this package registers it with the Auto classes of transformers."""

from transformers import AutoConfig, AutoModel, AutoModelForTokenClassification
from transformers.pipelines import PIPELINE_REGISTRY

from .configuration_iqcr import IQCRConfig
from .crf import LinearChainCRF
from .modeling_iqcr import IQCRForTokenClassification, IQCRModel, IQCRPreTrainedModel
from .pipeline_iqcr import MultimodalNERPipeline

# `register` makes the installed classes known to Auto classes; `register_for_auto_class` makes `save_pretrained` copy
# the source files. A checkpoint that carries one without the other points to files that are not there.
AutoConfig.register(IQCRConfig.model_type, IQCRConfig)
AutoModel.register(IQCRConfig, IQCRModel)
AutoModelForTokenClassification.register(IQCRConfig, IQCRForTokenClassification)
IQCRConfig.register_for_auto_class()
IQCRModel.register_for_auto_class("AutoModel")
IQCRForTokenClassification.register_for_auto_class("AutoModelForTokenClassification")
# By its name for models that are given as objects, whatever their type; a checkpoint names it in its configuration.
PIPELINE_REGISTRY.register_pipeline(
    "multimodal-ner",
    pipeline_class=MultimodalNERPipeline,
    pt_model=AutoModelForTokenClassification,
    type="multimodal",
)

__all__ = [
    "IQCRConfig",
    "IQCRForTokenClassification",
    "IQCRModel",
    "IQCRPreTrainedModel",
    "LinearChainCRF",
    "MultimodalNERPipeline",
]
