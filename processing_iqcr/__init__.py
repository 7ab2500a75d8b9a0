"""The IQCR-MI processor: importing this package registers it, and the model that its checkpoints belong to."""

from transformers import AutoProcessor

# Loading a processor asks AutoTokenizer for the tokenizer, which looks the model's configuration up: unregistered,
# that ends in a question to the terminal. Only this file, which never travels to the Hub, knows of the model package.
import modeling_iqcr

from .entities import Entity, tags_to_entities
from .image_loading import ImageLoadingError, load_image
from .processing_iqcr import IQCRProcessor
from .word_splitting import split_words

AutoProcessor.register(modeling_iqcr.IQCRConfig, IQCRProcessor)
IQCRProcessor.register_for_auto_class("AutoProcessor")

__all__ = ["Entity", "IQCRProcessor", "ImageLoadingError", "load_image", "split_words", "tags_to_entities"]
