"""Pictures of every mode against pixels worked by hand, and broken ones against their originals."""

import random
import resource
import struct
import time
import warnings
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image, ImageFile

from processing_iqcr.image_loading import (
    MAX_PIXELS,
    ImageDecodeError,
    ImageLoadingError,
    ImageNotFoundError,
    ImageTooLargeError,
    UnsupportedImageError,
    load_image,
    load_image_with_report,
)

PHOTOS = ("astronaut", "coffee", "chelsea")

# The picture as it should be seen, from the pixels as they are stored.
UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: np.rot90(a, 2),
    4: lambda a: a[::-1],
    5: lambda a: np.rot90(a[:, ::-1], 1),
    6: lambda a: np.rot90(a, -1),  # the camera was turned left, so the picture is turned right
    7: lambda a: np.rot90(a[:, ::-1], -1),
    8: lambda a: np.rot90(a, 1),
}

VARIANTS = {
    "JPEG": ({}, {"progressive": True}, {"quality": 95, "subsampling": 0}),
    "PNG": ({}, {"compress_level": 0}),
    "WEBP": ({}, {"lossless": True}),
}


def encode(image, image_format, **options):
    buffer = BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def photo(name, size):
    return Image.fromarray(getattr(skimage.data, name)()).resize(size)


def pixels_of(source):
    return np.asarray(load_image(source))


def one_row(mode, *pixels):
    """An image one pixel high."""
    image = Image.new(mode, (len(pixels), 1))
    for column, pixel in enumerate(pixels):
        image.putpixel((column, 0), pixel)
    return image


def png_chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_that_claims(width, height):
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", zlib.compress(b"\0" * 100)) + png_chunk(b"IEND", b"")


class TestModes:
    @pytest.mark.parametrize(
        ("image", "expected"),
        [
            (one_row("1", 0, 255), [(0, 0, 0), (255, 255, 255)]),
            (one_row("L", 0, 77, 255), [(0, 0, 0), (77, 77, 77), (255, 255, 255)]),
            (one_row("RGB", (1, 2, 3)), [(1, 2, 3)]),
            (one_row("RGBX", (1, 2, 3, 99)), [(1, 2, 3)]),
            # Over white: 255 + a / 255 * (v - 255).
            (one_row("RGBA", (9, 9, 9, 0), (255, 0, 51, 51), (1, 2, 3, 255)),
             [(255,) * 3, (255, 204, 214), (1, 2, 3)]),
            (one_row("LA", (9, 0), (0, 51), (7, 255)), [(255,) * 3, (204,) * 3, (7,) * 3]),
            (one_row("RGBa", (0, 0, 0, 0), (51, 0, 10, 51)), [(255,) * 3, (255, 204, 214)]),
            (one_row("CMYK", (0, 0, 0, 0), (255, 0, 0, 0), (0, 255, 255, 0), (0, 0, 0, 255)),
             [(255,) * 3, (0, 255, 255), (255, 0, 0), (0,) * 3]),
            # Rec. 601: red is Y 76, Cb 85, Cr 255.
            (one_row("YCbCr", (255, 128, 128), (76, 85, 255), (0, 128, 128)), [(255,) * 3, (254, 0, 0), (0,) * 3]),
            (one_row("HSV", (0, 255, 255), (85, 255, 255), (170, 255, 255), (0, 0, 9)),
             [(255, 0, 0), (0, 255, 0), (0, 0, 255), (9,) * 3]),
        ],
        ids=lambda value: getattr(value, "mode", ""),
    )  # fmt: skip
    def test_modes(self, image, expected):
        loaded = load_image(image)
        assert (loaded.mode, loaded.size) == ("RGB", image.size)
        assert np.abs(np.asarray(loaded)[0].astype(int) - expected).max() <= 2

    def test_lab(self):
        # CIE L* a* b* under D50: white is 100 0 0, sRGB red 54.3 80.8 69.9. PIL keeps 2.55 L*, a* + 128 and b* + 128,
        # and that rounding is worth up to 5 steps of RGB.
        image = one_row("LAB", (255, 128, 128), (138, 209, 198), (0, 128, 128))
        assert np.abs(pixels_of(image)[0].astype(int) - [(255,) * 3, (255, 0, 0), (0,) * 3]).max() <= 5

    @pytest.mark.parametrize("image_format", ["PNG", "GIF"])
    def test_a_palette_keeps_its_colours_and_its_hole_is_white(self, image_format):
        image = one_row("P", 0, 1, 2)
        image.putpalette([10, 20, 30, 200, 100, 50, 0, 0, 0])
        assert pixels_of(encode(image, image_format)).tolist() == [[[10, 20, 30], [200, 100, 50], [0, 0, 0]]]
        hollow = encode(image, image_format, transparency=1)
        assert pixels_of(hollow).tolist() == [[[10, 20, 30], [255, 255, 255], [0, 0, 0]]]

    def test_a_palette_with_alpha_per_colour(self):
        image = one_row("P", 0, 1)
        image.putpalette([255, 0, 51, 1, 2, 3])
        assert pixels_of(encode(image, "PNG", transparency=bytes([51, 255]))).tolist() == [
            [[255, 204, 214], [1, 2, 3]]
        ]
        assert pixels_of(image.convert("PA")).tolist() == [[[255, 0, 51], [1, 2, 3]]]

    def test_a_transparent_colour_of_an_rgb_file_is_white(self):
        data = encode(one_row("RGB", (1, 2, 3), (4, 5, 6)), "PNG", transparency=(4, 5, 6))
        assert pixels_of(data).tolist() == [[[1, 2, 3], [255, 255, 255]]]

    @pytest.mark.parametrize("image_format", ["PNG", "TIFF"])
    def test_sixteen_bits_are_scaled_not_clipped(self, image_format):
        ramp = np.arange(65536, dtype=np.uint16).reshape(256, 256)
        expected = np.repeat(np.round(ramp / 65535 * 255).astype(np.uint8)[..., None], 3, axis=2)
        assert np.array_equal(pixels_of(encode(Image.fromarray(ramp), image_format)), expected)
        assert np.array_equal(pixels_of(Image.fromarray(ramp.astype(np.int32))), expected)
        big_endian = Image.frombytes("I;16B", (256, 256), ramp.astype(">u2").tobytes())
        assert np.array_equal(pixels_of(big_endian), expected)

    def test_wide_integers_that_hold_eight_bits_stay(self):
        assert pixels_of(one_row("L", 0, 77, 255).convert("I"))[0, :, 0].tolist() == [0, 77, 255]

    @pytest.mark.parametrize("image", [one_row("I", 70000), one_row("I", -1), one_row("F", 0.5)])
    def test_numbers_without_a_defined_range_are_refused(self, image):
        with pytest.raises(UnsupportedImageError, match="8 bits"):
            load_image(image)

    def test_a_cmyk_jpeg_has_its_colours(self):
        colours = [(0, 0, 0, 0), (255, 0, 0, 0), (0, 255, 255, 0), (0, 0, 0, 255)]
        image = one_row("CMYK", *colours).resize((64, 16), Image.Resampling.NEAREST)
        loaded = pixels_of(encode(image, "JPEG", quality=100))[8, 8::16].astype(int)
        assert np.abs(loaded - [(255,) * 3, (0, 255, 255), (255, 0, 0), (0,) * 3]).max() <= 3

    @pytest.mark.parametrize("size", [(1, 1), (1, 10000), (10000, 1)])
    @pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP", "BMP"])
    def test_thin_pictures(self, size, image_format):
        assert load_image(encode(Image.new("RGB", size, "red"), image_format)).size == size


class TestOrientation:
    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize(
        ("image_format", "options"),
        [("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True}), ("JPEG", {"quality": 95})],
    )
    def test_all_eight(self, orientation, image_format, options):
        image = photo("chelsea", (40, 24))
        exif = Image.Exif()
        exif[0x0112] = orientation
        upright = UPRIGHT[orientation](np.asarray(image)).astype(int)
        loaded = load_image(encode(image, image_format, exif=exif, **options))
        difference = np.abs(np.asarray(loaded).astype(int) - upright)
        assert difference.mean() < (4 if image_format == "JPEG" else 1e-9)
        # Nothing is left by which a later step could turn the picture again.
        assert loaded.getexif() == {}
        assert loaded.info == {}

    @pytest.mark.filterwarnings("ignore::UserWarning")
    @pytest.mark.parametrize(
        "exif", [b"Exif\0\0nonsense", b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01", b"Exif\0\0"]
    )
    def test_broken_exif_is_ignored(self, exif):
        image = photo("coffee", (32, 32))
        assert np.array_equal(pixels_of(encode(image, "JPEG", exif=exif)), pixels_of(encode(image, "JPEG")))


class TestSources:
    def test_every_kind_of_source_gives_the_same_picture(self, tmp_path):
        pixels = np.asarray(photo("coffee", (20, 10)))
        data = encode(Image.fromarray(pixels), "PNG")
        path = tmp_path / "a picture.with.dots"
        path.write_bytes(data)
        sources = [path, str(path), data, bytearray(data), memoryview(data), pixels]
        sources += [Image.fromarray(pixels), Image.open(path), {"path": str(path), "bytes": None}, {"path": path}]
        sources += [{"path": "gone.png", "bytes": data}, np.asfortranarray(pixels)]
        for source in sources:
            loaded = load_image(source)
            assert type(loaded) is Image.Image
            assert np.array_equal(np.asarray(loaded), pixels)

    def test_arrays(self):
        grey = np.arange(6, dtype=np.uint8).reshape(2, 3)
        expected = np.repeat(grey[..., None], 3, axis=2)
        assert np.array_equal(pixels_of(grey), expected)
        assert np.array_equal(pixels_of(grey[..., None]), expected)
        clear = np.dstack([expected, np.zeros((2, 3), np.uint8)])
        assert (pixels_of(clear) == 255).all()

    def test_the_result_stands_alone_and_the_source_is_untouched(self, tmp_path):
        path = tmp_path / "picture.png"
        exif = Image.Exif()
        exif[0x0112] = 6
        path.write_bytes(encode(photo("coffee", (20, 10)), "PNG", exif=exif))
        from_file = load_image(path)
        path.unlink()
        assert from_file.copy().size == (10, 20)

        array = np.zeros((2, 2, 3), np.uint8)
        from_array = load_image(array)
        array[:] = 255
        assert from_array.getpixel((0, 0)) == (0, 0, 0)

        source = Image.new("P", (2, 2))
        source.info["transparency"] = 0
        load_image(source).putpixel((0, 0), (1, 2, 3))
        assert (source.mode, source.info, source.getpixel((0, 0))) == ("P", {"transparency": 0}, 0)

    @pytest.mark.parametrize("image_format", ["GIF", "WEBP", "PNG", "TIFF"])
    def test_the_first_frame_of_several(self, image_format):
        frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "lime", "blue")]
        options = {"lossless": True} if image_format == "WEBP" else {}
        data = encode(frames[0], image_format, save_all=True, append_images=frames[1:], **options)
        with Image.open(BytesIO(data)) as image:
            assert image.n_frames == 3
        assert (pixels_of(data) == (255, 0, 0)).all()


class TestErrors:
    @pytest.mark.parametrize(
        ("source", "error", "message"),
        [
            ("https://example.org/a.jpg", UnsupportedImageError, "URL.*Download"),
            ("file:///a.jpg", UnsupportedImageError, "URL"),
            ("no/such/file.jpg", ImageNotFoundError, r"'no/such/file.jpg' cannot be opened \(No such file"),
            ("a\0b.jpg", ImageNotFoundError, "cannot be opened"),
            ("x" * 5000, ImageNotFoundError, "cannot be opened"),
            (Path(__file__).parent, UnsupportedImageError, "is not a file"),
            ("/dev/zero", UnsupportedImageError, "is not a file"),
            (Path(__file__), ImageDecodeError, "test_image_loading.py' is not a picture.*JPEG, PNG"),
            ("", ImageNotFoundError, "'' cannot be opened"),
            (b"", ImageDecodeError, "data of 0 bytes is empty"),
            (b"GIF89a", ImageDecodeError, "data of 6 bytes"),
            (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", ImageDecodeError, "known format"),
            ({"path": None, "bytes": None}, UnsupportedImageError, "neither 'bytes' nor 'path'"),
            ({}, UnsupportedImageError, "neither 'bytes' nor 'path'"),
            ({"bytes": "picture.jpg"}, UnsupportedImageError, "has 'bytes' of type str"),
            (None, UnsupportedImageError, "an object of type NoneType is not a picture. Pass a path"),
            (["a.jpg"], UnsupportedImageError, "type list"),
            (np.zeros((2, 2, 3)), UnsupportedImageError, r"\(2, 2, 3\) and type float64.*uint8"),
            (np.zeros((3, 8, 8), np.uint8), UnsupportedImageError, r"\(3, 8, 8\)"),
            (np.zeros(4, np.uint8), UnsupportedImageError, "uint8 array"),
            (np.zeros((0, 4), np.uint8), UnsupportedImageError, "no pixels"),
            (Image.new("RGB", (0, 5)), UnsupportedImageError, "no pixels"),
        ],
        ids=lambda value: repr(value)[:30] if not isinstance(value, type) else value.__name__,
    )
    def test_the_error_says_where_what_and_what_to_do(self, source, error, message):
        with pytest.raises(error, match=f"^Post '17', image 2: .*{message}.*\\.$"):
            load_image(source, where="Post '17', image 2")

    def test_an_empty_file(self, tmp_path):
        (tmp_path / "a.jpg").touch()
        with pytest.raises(ImageDecodeError, match=r"^'.*a\.jpg' is empty"):
            load_image(tmp_path / "a.jpg")

    @pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
    @pytest.mark.parametrize("size", [(50_000, 50_000), (10_000, 10_000), (2**31 - 1, 2**31 - 1)])
    def test_a_bomb_is_known_by_its_header(self, size):
        data = png_that_claims(*size)
        memory, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
        for action in ("ignore", "error"):
            with warnings.catch_warnings():
                warnings.simplefilter(action)
                with pytest.raises(ImageTooLargeError, match=r"^data of .* too large"):
                    load_image(data)
        assert time.perf_counter() - start < 1
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 50_000  # kilobytes

    def test_the_limit_holds_for_every_source(self, tmp_path):
        image = Image.new("RGB", (10, 10))
        image.save(tmp_path / "a.png")
        for source in (image, np.asarray(image), encode(image, "JPEG"), tmp_path / "a.png"):
            assert load_image(source, max_pixels=100).size == (10, 10)
            with pytest.raises(ImageTooLargeError, match=r"10 x 10 pixels, allowed are 99\)"):
                load_image(source, max_pixels=99)

    def test_a_file_that_pil_opened_but_cannot_read(self):
        data = encode(photo("coffee", (64, 64)), "PNG")
        with pytest.raises(ImageDecodeError, match="a PIL image"):
            load_image(Image.open(BytesIO(data[: len(data) // 2])))


class TestTruncatedJpeg:
    OPTIONS = ({"quality": 90}, {"quality": 95, "subsampling": 0}, {"quality": 75, "restart_marker_rows": 1})

    @pytest.mark.parametrize("name", PHOTOS)
    @pytest.mark.parametrize("options", OPTIONS, ids=str)
    def test_what_is_there_is_kept_and_what_is_missing_is_counted(self, name, options):
        data = encode(photo(name, (240, 320)), "JPEG", **options)
        original = pixels_of(data)
        outcomes = []
        for share in (0.99, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1):
            try:
                image, repair = load_image_with_report(data[: int(share * len(data))])
            except ImageDecodeError:
                outcomes.append("error")
                continue
            grey = int(repair.split("last ")[1].split(" of 320")[0]) if "grey" in repair else 0
            pixels = np.asarray(image)
            # The row of blocks in which the data ends, 16 pixels high at most, is there in part; smoothing takes
            # one row from either side of the border.
            intact = 320 - grey - 18
            assert image.size == (240, 320)
            assert np.array_equal(pixels[:intact], original[:intact])
            assert (pixels[320 - grey :] == 128).all()
            assert grey <= 160
            outcomes.append("repaired")
        assert outcomes[0] == "repaired"
        assert outcomes[-1] == "error"
        assert outcomes == sorted(outcomes, reverse=True)

    @pytest.mark.parametrize("options", [*OPTIONS, {"progressive": True}], ids=str)
    def test_without_its_end_marker_it_is_whole(self, options):
        data = encode(photo("coffee", (100, 75)), "JPEG", **options)
        image, repair = load_image_with_report(data[:-2])
        assert np.array_equal(np.asarray(image), pixels_of(data))
        assert "end marker" in repair
        assert load_image_with_report(data).repair is None

    def test_a_progressive_one_is_kept_once_it_has_details(self):
        picture = photo("astronaut", (256, 256))
        data = encode(picture, "JPEG", progressive=True)
        scans = [position for position in range(len(data)) if data.startswith(b"\xff\xda", position)]
        with pytest.raises(ImageDecodeError, match="no details"):
            load_image(data[: scans[1] + 200])
        image, repair = load_image_with_report(data[: scans[4] + 200])
        assert "early" in repair
        assert np.abs(np.asarray(image).astype(int) - np.asarray(picture)).mean() < 12

    def test_an_end_marker_in_the_middle_is_no_end(self):
        data = encode(photo("coffee", (240, 320)), "JPEG")
        for share, repaired in ((0.9, True), (0.2, False)):
            cut = int(share * len(data))
            broken = data[:cut] + b"\xff\xd9" + data[cut:]
            if repaired:
                assert "rows are grey" in load_image_with_report(broken).repair
            else:
                with pytest.raises(ImageDecodeError, match="of 320 rows"):
                    load_image(broken)

    @pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
    @pytest.mark.parametrize("options", [*OPTIONS, {"progressive": True}], ids=str)
    def test_a_picture_that_is_grey_by_itself_is_whole(self, mode, options):
        for height in (0, 16, 40):
            image = Image.new(mode, (96, 96), 128 if mode == "L" else (128,) * len(mode))
            image.paste(photo("coffee", (96, max(height, 1))).convert(mode), (0, height - max(height, 1)))
            data = encode(image, "JPEG", **options)
            assert load_image_with_report(data).repair is None
            assert load_image_with_report(data[:-2]).repair == "the JPEG data ends early, without its end marker"

    def test_a_repair_is_logged_and_pil_is_left_as_it_was(self, caplog):
        data = encode(photo("coffee", (64, 64)), "JPEG")
        load_image(data, where="Post '17', image 2")
        assert not caplog.messages
        load_image(data[:-2], where="Post '17', image 2")
        assert caplog.messages == [
            f"Post '17', image 2: data of {len(data) - 2} bytes: the JPEG data ends early, without its end marker."
        ]
        assert ImageFile.LOAD_TRUNCATED_IMAGES is False


def swap_chunks(data, rng):
    """Exchange two chunks of a PNG, each with its checksum."""
    chunks, position = [], 8
    while position < len(data):
        end = position + 12 + int.from_bytes(data[position : position + 4], "big")
        chunks.append(data[position:end])
        position = end
    first, second = rng.sample(range(len(chunks)), 2)
    chunks[first], chunks[second] = chunks[second], chunks[first]
    return data[:8] + b"".join(chunks)


def mutate(data, kind, rng):
    if kind == "chunks":
        return swap_chunks(data, rng)
    position = rng.randrange(len(data))
    if kind == "cut":
        return data[:position]
    if kind == "insert":
        return data[:position] + rng.randbytes(rng.randint(1, 40)) + data[position:]
    if kind == "delete":
        return data[:position] + data[position + rng.randint(1, 40) :]
    if kind == "move":
        length = rng.randint(1, 60)
        rest = data[:position] + data[position + length :]
        target = rng.randrange(len(rest))
        return rest[:target] + data[position : position + length] + rest[target:]
    mutated = bytearray(data)
    for _ in range(rng.choice((1, 3, 20))):
        mutated[rng.randrange(min(len(data), 300) if kind == "header" else len(data))] ^= 1 << rng.randrange(8)
    return bytes(mutated)


class TestMutations:
    """1,000 broken files, half of them with every warning made an error."""

    @pytest.mark.parametrize(("image_format", "count"), [("JPEG", 400), ("PNG", 300), ("WEBP", 300)])
    def test_a_right_image_or_a_typed_error(self, image_format, count):
        rng = random.Random(2024)
        ramp = np.add.outer(np.arange(80), np.arange(96)).astype(np.uint8)
        exif = Image.Exif()
        exif[0x0112] = 3
        images = [*(photo(name, (96, 80)) for name in PHOTOS), Image.fromarray(ramp)]
        files = [encode(image, image_format, **options) for image in images for options in VARIANTS[image_format]]
        files.append(encode(images[0], image_format, exif=exif))
        originals = [pixels_of(data) for data in files]
        kinds = ["flip", "header", "cut", "cut", "insert", "delete", "move"] + ["chunks"] * (image_format == "PNG")
        loaded = 0
        for trial in range(count):
            number, kind = rng.randrange(len(files)), rng.choice(kinds)
            data = mutate(files[number], kind, rng)
            with warnings.catch_warnings():
                warnings.simplefilter("error" if trial % 2 else "ignore")
                try:
                    image, repair = load_image_with_report(data, max_pixels=1_000_000)
                except ImageLoadingError:
                    continue
            loaded += 1
            pixels, original = np.asarray(image), originals[number]
            assert (type(image), image.mode) == (Image.Image, "RGB")
            assert 0 < image.width * image.height <= 1_000_000
            if image_format == "PNG":  # every byte is under a checksum
                assert np.array_equal(pixels, original)
            if kind == "cut" and len(data) < len(files[number]) - 2:
                assert image_format == "JPEG"
                assert repair is not None or np.array_equal(pixels, original)
                if number % 3 != 1 and number < 12:  # a progressive file is coarser everywhere, not cut off
                    grey = int(repair.split("last ")[1].split(" of")[0]) if repair and "grey" in repair else 0
                    assert np.array_equal(pixels[: 80 - grey - 18], original[: 80 - grey - 18])
        assert (loaded > 0.1 * count) == (image_format != "PNG")


def test_the_default_limit_is_pils():
    assert Image.MAX_IMAGE_PIXELS == MAX_PIXELS
