"""The exported model: the numbers of PyTorch for every shape, in a folder that needs nothing else."""

import itertools
import json
import shutil

import pytest
import torch
from transformers import AutoModelForTokenClassification

from mner_training import onnx_export
from mner_training.onnx_export import TOLERANCE, export_onnx
from mner_training.onnx_tagger import OnnxModel, OnnxTagger
from modeling_iqcr import MultimodalNERPipeline
from scripts.export_onnx import main
from tests.hidden_packages import hide_packages

FULL = {"confidence_temperature": 1.5}  # which travels by the configuration
TEXT_ONLY = {"use_images": False, "use_crf": False}
ABLATED = {"use_quality": False, "use_gate": False, "attention_prior": True, "num_labels": 5}
IMAGE_KEYS = ("pixel_values", "image_mask", "quality_scores", "relevance_scores")


def make_batch(num_posts, num_sub_tokens, num_images, seed=0, pictures="mixed", vocabulary=40, image_size=16):
    """Random tensors; posts and pictures of different numbers, a third of the scores missing."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(3, num_sub_tokens + 1, (num_posts, 1), generator=generator)
    lengths[-1] = num_sub_tokens
    positions = torch.arange(num_sub_tokens)
    attention_mask = positions < lengths
    slots = (num_posts, num_images)
    counts = torch.randint(num_images + 1, (num_posts, 1), generator=generator)
    counts = {"mixed": counts, "none": torch.zeros_like(counts), "all": torch.full_like(counts, num_images)}[pictures]
    missing = torch.rand(slots, generator=generator) < 1 / 3
    size = (3, image_size, image_size)
    return {
        "input_ids": torch.randint(4, vocabulary, attention_mask.shape, generator=generator) * attention_mask,
        "attention_mask": attention_mask.long(),
        "word_mask": (positions > 0) & (positions < lengths - 1),
        "pixel_values": torch.randn(*slots, *size, generator=generator),
        "image_mask": torch.arange(num_images) < counts,
        "quality_scores": torch.rand(slots, generator=generator).masked_fill(missing, torch.nan),
        "relevance_scores": torch.rand(slots, generator=generator).masked_fill(missing, torch.nan) / 4,
    }


@torch.no_grad()
def assert_equal_for_unseen_shapes(model, exported, shapes, **options) -> None:
    """Compare all outputs for all shapes, none of which is that of the export."""
    largest, tags = 0.0, set()
    for seed, (num_posts, num_sub_tokens, num_images, pictures) in enumerate(shapes):
        batch = make_batch(num_posts, num_sub_tokens, num_images, seed, pictures, **options)
        if seed % 5 == 4:  # scores that are all missing, in both forms
            batch |= {"quality_scores": torch.full_like(batch["quality_scores"], torch.nan)}
            del batch["relevance_scores"]
        plain = {"output_hidden_states": False, "output_attentions": False}  # whatever the configuration says
        expected, actual = model(**batch, **plain), exported(**batch)
        assert expected.keys() == actual.keys()
        assert torch.equal(expected.predictions, actual.predictions)
        tags |= set(actual.predictions.unique().tolist())
        for name in expected.keys() - {"predictions"}:
            largest = max(largest, (expected[name] - actual[name]).abs().max().item())
            assert expected[name].shape == actual[name].shape
    assert largest <= TOLERANCE
    assert len(tags) >= 4  # -100 and three tags: a model that always says the same would agree with anything
    print(f"{seed + 1} shapes, largest difference {largest:.2g}")


@pytest.fixture(scope="module")
def export(make_lively_model, tiny_processor, tmp_path_factory):
    """Function that makes a lively model and exports it: the model and the folder, the same for the same fields."""
    made = {}

    def run(fields):
        key = json.dumps(fields)
        if key not in made:
            folder = tmp_path_factory.mktemp("exported") / "folder"
            model = make_lively_model(seed=4, **fields)
            if fields == FULL:  # as a user does it
                model.save_pretrained(folder.parent / "run")
                tiny_processor.save_pretrained(folder.parent / "run")
                main([str(folder.parent / "run"), str(folder)])
            else:
                export_onnx(model, tiny_processor, folder)
            made[key] = model, folder
        return made[key]

    return run


@pytest.fixture(scope="module")
def taggers(export, tiny_processor):
    """The pipeline and the exported tagger of the same model."""
    model, folder = export(FULL)
    pipeline = MultimodalNERPipeline(model=model, processor=tiny_processor, device="cpu")
    return pipeline, OnnxTagger.from_pretrained(folder)


# The same numbers


@pytest.mark.parametrize("fields", [FULL, TEXT_ONLY, ABLATED], ids=["full", "text_only", "ablated"])
def test_unseen_shapes(export, fields):
    model, folder = export(fields)
    shapes = itertools.product(range(1, 8), (3, 10, 32), range(1, 5), ("mixed", "none"))
    assert_equal_for_unseen_shapes(model, OnnxModel(folder), shapes)


def test_padding_and_what_stands_on_it_changes_nothing(export):
    folder = export(FULL)[1]
    exported, batch = OnnxModel(folder), make_batch(3, 9, 2)
    before = exported(**batch)
    padded = dict(batch)
    for name in IMAGE_KEYS:
        filler = 0 if name == "image_mask" else torch.nan if name == "pixel_values" else 7
        slots = torch.full((3, 2, *batch[name].shape[2:]), filler, dtype=batch[name].dtype)
        padded[name] = torch.cat([batch[name], slots], dim=1)
    after = exported(**padded)
    torch.testing.assert_close(before.logits, after.logits, rtol=0, atol=1e-5)
    torch.testing.assert_close(before.image_weights, after.image_weights[:, :2], rtol=0, atol=1e-6)
    assert not after.image_weights[:, 2:].any()
    assert not after.image_gates[:, 2:].any()


@torch.no_grad()
def test_whatever_may_be_left_out_may_be_left_out(export):
    model, folder = export(FULL)
    exported, batch = OnnxModel(folder), make_batch(2, 6, 3, pictures="all")
    text = {"input_ids": batch["input_ids"]}
    for inputs in (text, text | {"pixel_values": batch["pixel_values"]}):
        expected, actual = model(**inputs), exported(**inputs)
        assert expected.keys() == actual.keys()  # no predictions where nothing says what a word is
        for name in expected:
            torch.testing.assert_close(expected[name], actual[name], rtol=0, atol=TOLERANCE)


# The same answers

POSTS = [
    "Washington wins again in Paris, today!",
    {"text": "the red zoo", "images": 2},
    {"words": ["jordan", "&", "paris"], "images": 3, "quality_scores": [0.9, None, 0.1]},
    {"words": ["blue", "green"] * 30, "images": 1, "quality_scores": [0.3], "relevance_scores": [0.2]},
    {"text": "a picture too many", "images": 5},
    {"text": " ", "images": 1},
]


@pytest.fixture
def posts(make_pictures):
    return [post | {"images": make_pictures(post["images"])} if isinstance(post, dict) else post for post in POSTS]


def assert_same_answer(expected, actual):
    if isinstance(expected, dict):
        assert list(expected) == list(actual)
        for name in expected:
            assert_same_answer(expected[name], actual[name])
    elif isinstance(expected, list):
        assert len(expected) == len(actual)
        for pair in zip(expected, actual, strict=True):
            assert_same_answer(*pair)
    elif isinstance(expected, float):
        assert actual == pytest.approx(expected, abs=TOLERANCE)
    else:
        assert expected == actual


def test_answers_of_the_pipeline(taggers, posts):
    pipeline, tagger = taggers
    expected = pipeline(posts)
    types = {entity["entity_group"] for answer in expected for entity in answer["entities"]}
    assert len(types) >= 3
    assert_same_answer(expected, tagger(posts))
    assert_same_answer(expected, tagger(posts, batch_size=4))
    assert_same_answer(expected, list(tagger(post for post in posts)))
    assert_same_answer(pipeline(posts[1]), tagger(posts[1]))
    assert_same_answer(pipeline(posts, threshold=0.5), tagger(posts, threshold=0.5))


def test_explanations_of_the_pipeline(taggers, posts):
    pipeline, tagger = taggers
    expected = pipeline.explain(posts)
    assert_same_answer(expected, tagger.explain(posts))
    assert any(entity["decided_by"] is not None for answer in expected for entity in answer["entities"])


def test_text_only_model_passes_pictures_over(export, tiny_processor, posts):
    model, folder = export(TEXT_ONLY)
    pipeline = MultimodalNERPipeline(model=model, processor=tiny_processor, device="cpu")
    assert_same_answer(pipeline(posts), OnnxTagger.from_pretrained(folder)(posts))


# The folder


def test_folder_alone_is_enough_and_its_code_is_not_run(export, tmp_path, posts, taggers):
    _, folder = export(FULL)
    assert {"model.onnx", "model.onnx.data", "crf.safetensors", "config.json", "processor_config.json"} <= {
        path.name for path in folder.iterdir()
    }
    assert not [path for path in folder.parent.iterdir() if path.name.startswith(".")]
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    for file in copy.glob("*.py"):
        file.write_text("raise SystemExit('code of the folder was run')\n")
    assert_same_answer(taggers[0](posts), OnnxTagger.from_pretrained(copy)(posts))


def test_graph_tells_no_paths_and_has_named_axes(export):
    import onnx

    _, folder = export(FULL)
    content = (folder / "model.onnx").read_bytes()
    assert not [path for path in (b"site-packages", b".py", b"modeling_iqcr/") if path in content]
    graph = onnx.load(folder / "model.onnx", load_external_data=False).graph
    axes = {
        tensor.name: [axis.dim_param or axis.dim_value for axis in tensor.type.tensor_type.shape.dim]
        for tensor in (*graph.input, *graph.output)
    }
    assert axes == {
        "input_ids": ["posts", "sub_tokens"],
        "attention_mask": ["posts", "sub_tokens"],
        "pixel_values": ["posts", "pictures", 3, 16, 16],
        "image_mask": ["posts", "pictures"],
        "quality_scores": ["posts", "pictures"],
        "relevance_scores": ["posts", "pictures"],
        "logits": ["posts", "sub_tokens", 9],
        "image_weights": ["posts", "pictures"],
        "image_gates": ["posts", "pictures"],
    }


def test_model_stays_as_it_was(make_lively_model, tiny_processor, tmp_path, monkeypatch, export):
    folder = export(FULL)[1]
    monkeypatch.setattr(onnx_export, "_write_graph", copy_graph(folder))
    model = make_lively_model(seed=4).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    config = model.config.to_dict()
    export_onnx(model, tiny_processor, tmp_path / "new")
    assert model.training
    assert model.config.to_dict() == config
    assert {part._attn_implementation for part in (model.config, model.config.text_config)} == {"sdpa"}
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


# What is refused


def copy_graph(folder):
    """In the place of `_write_graph`: the graph that lies in `folder`."""

    def write(model, processor, file):
        shutil.copy(folder / "model.onnx", file)
        shutil.copy(folder / "model.onnx.data", file.parent)

    return write


@pytest.mark.parametrize("what", ["graph", "tags"])
def test_wrong_graph_is_not_kept(export, make_lively_model, tiny_processor, tmp_path, monkeypatch, what):
    monkeypatch.setattr(onnx_export, "_write_graph", copy_graph(export(FULL)[1]))
    model = make_lively_model(seed=4)
    if what == "graph":
        model.model.image_projection.weight.data += 0.01
        message = r"is wrong: its logits differ by \S+ from PyTorch's, more than 0.0001, in a batch of \d posts"
    else:
        save = onnx_export.save_file
        monkeypatch.setattr(
            onnx_export, "save_file", lambda tensors, file: save({n: 9 * t for n, t in tensors.items()}, file)
        )
        message = r"gives other tags than PyTorch. Its scores differ by \S+e-0\d"
    with pytest.raises(RuntimeError, match=message):
        export_onnx(model, tiny_processor, tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


def test_occupied_folder_is_refused(make_model, tiny_processor, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"exists and holds something else. Nothing is overwritten"):
        export_onnx(make_model(), tiny_processor, tmp_path)
    with pytest.raises(FileExistsError, match=r"exists and holds something else. Nothing is overwritten"):
        main(["anything", str(tmp_path)])


def test_other_models_and_processors_are_refused(make_model, tiny_processor, tiny_tokenizer, tiny_backbones, tmp_path):
    bert = AutoModelForTokenClassification.from_pretrained(tiny_backbones[0])
    with pytest.raises(ValueError, match=r"Only IQCRForTokenClassification can be exported, got BertForTokenClass"):
        export_onnx(bert, tiny_processor, tmp_path / "new")
    with pytest.raises(ValueError, match=r"needs the model's IQCRProcessor, got TokenizersBackend. Save it"):
        export_onnx(make_model(), tiny_tokenizer, tmp_path / "new")
    with pytest.raises(ValueError, match=r"is a model of type 'bert'. Only IQCR-MI, 'iqcr', can be exported"):
        main([str(tiny_backbones[0]), str(tmp_path / "new")])
    assert list(tmp_path.iterdir()) == []


def test_script_names_what_is_no_checkpoint(make_model, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty' holds no checkpoint: it has no config.json. Give the folder that"):
        main([str(tmp_path / "empty"), str(tmp_path / "new")])
    with pytest.raises(ValueError, match=r"No model with its processor can be had from 'nobody/nothing'"):
        main(["nobody/nothing", str(tmp_path / "new")])
    make_model().save_pretrained(tmp_path / "without_processor")
    with pytest.raises(ValueError, match=r"No model with its processor can be had from '.*without_processor'"):
        main([str(tmp_path / "without_processor"), str(tmp_path / "new")])
    assert not (tmp_path / "new").exists()


def test_folder_without_an_exported_model_is_named(export, tmp_path, make_model):
    with pytest.raises(
        FileNotFoundError, match=r"is not the folder of an exported model: it has no model.onnx. Expor"
    ):
        OnnxTagger.from_pretrained("somebody/on-the-hub")
    copy = shutil.copytree(export(FULL)[1], tmp_path / "copy")
    (copy / "crf.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"it has no crf.safetensors"):
        OnnxTagger.from_pretrained(copy)


@pytest.mark.parametrize("name", ["attention_mask", *IMAGE_KEYS])
def test_shapes_that_do_not_fit_are_named(export, name):
    exported, batch = OnnxModel(export(FULL)[1]), make_batch(2, 6, 3)
    with pytest.raises(ValueError, match=rf"`{name}` must have the shape \(2, .*, got .* Let IQCRProcessor"):
        exported(**batch | {name: batch[name][:1]})
    if name != "pixel_values":  # which says how many pictures there are
        with pytest.raises(ValueError, match=rf"`{name}` must have the shape"):
            exported(**batch | {name: batch[name][:, :1]})


def test_images_without_pixels_are_refused(export):
    batch = make_batch(2, 6, 3, pictures="all")
    del batch["pixel_values"]
    with pytest.raises(ValueError, match=r"`image_mask` marks images, but there are no `pixel_values`"):
        OnnxModel(export(FULL)[1])(**batch)


def test_missing_packages_are_named(export, make_model, tiny_processor, tmp_path, monkeypatch):
    folder = export(FULL)[1]
    hide_packages(monkeypatch, "onnxruntime")
    for call in (
        lambda: OnnxTagger.from_pretrained(folder),
        lambda: export_onnx(make_model(), tiny_processor, tmp_path),
    ):
        with pytest.raises(ImportError, match=r"pip install 'iqcr-mi\[onnx\]'"):
            call()
