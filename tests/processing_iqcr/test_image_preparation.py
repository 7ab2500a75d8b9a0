"""Pixels that travelled as bytes against the image processor's own full path."""

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    BeitImageProcessorPil,
    CLIPImageProcessorPil,
    EfficientNetImageProcessorPil,
    ViTImageProcessorPil,
)

from processing_iqcr import IQCRProcessor

SIZE = {"height": 16, "width": 16}


@pytest.mark.parametrize("size", [(1, 1), (16, 16), (300, 20), (17, 90)])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK", "1"])
@pytest.mark.parametrize(
    "kind",
    [
        ViTImageProcessorPil(size=SIZE),
        ViTImageProcessorPil(size={"height": 12, "width": 20}, do_normalize=False, resample=3),
        ViTImageProcessorPil(size=SIZE, image_mean=[0.1, 0.2, 0.3], image_std=[0.5, 0.3, 0.2]),
        CLIPImageProcessorPil(size={"shortest_edge": 18}, crop_size={"height": 16, "width": 16}),
        BeitImageProcessorPil(size=SIZE, crop_size={"height": 12, "width": 12}, do_center_crop=False),
    ],
    ids=["vit", "wide", "normalised", "cropped", "crop switched off"],
)
def test_pixels_equal_the_image_processors_own_path(tiny_tokenizer, kind, size, mode):
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    image = Image.fromarray(noise).convert(mode)
    processor = IQCRProcessor(kind, tiny_tokenizer, max_length=32, window_overlap=8)
    actual = processor(words=["a"], images=[image])["pixel_values"][0]
    expected = kind(images=[image.convert("RGB")], return_tensors="pt")["pixel_values"]
    assert actual.shape[1:] == processor.image_shape
    torch.testing.assert_close(actual, expected, atol=1e-6, rtol=0)


def test_bytes_hold_the_resized_pixels_without_loss(tiny_processor, make_pictures):
    picture = make_pictures(1)[0]
    resized = picture.resize((16, 16), Image.Resampling.BILINEAR)
    assert tiny_processor.image_to_bytes(picture) == np.asarray(resized).transpose(2, 0, 1).tobytes()
    every_value = Image.fromarray(np.arange(768, dtype=np.uint32).reshape(16, 16, 3).astype(np.uint8))
    assert tiny_processor.image_to_bytes(every_value) == np.asarray(every_value).transpose(2, 0, 1).tobytes()


def test_image_processor_of_torchvision_is_replaced_by_that_of_pil(tiny_tokenizer, make_pictures):
    pytest.importorskip("torchvision")
    from transformers import ViTImageProcessor

    processor = IQCRProcessor(ViTImageProcessor(size=SIZE, image_mean=[0.1] * 3), tiny_tokenizer, max_length=64)
    assert type(processor.image_processor) is ViTImageProcessorPil
    reference = ViTImageProcessorPil(size=SIZE, image_mean=[0.1] * 3)(images=make_pictures(1), return_tensors="pt")
    actual = processor(words=["a"], images=make_pictures(1))["pixel_values"][0]
    torch.testing.assert_close(actual, reference["pixel_values"], atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (CLIPImageProcessorPil(size={"shortest_edge": 16}, do_center_crop=False), "must become.*one size"),
        (ViTImageProcessorPil(do_resize=False), "must become.*one size"),
        (EfficientNetImageProcessorPil(size=SIZE, rescale_offset=True), "does more to pixels"),
    ],
)
def test_image_processor_that_cannot_travel_in_bytes_is_refused(tiny_tokenizer, kind, message):
    with pytest.raises(ValueError, match=message):
        IQCRProcessor(kind, tiny_tokenizer, max_length=32)
