"""Any string at all through the pipeline: no crash, exact offsets, no word lost."""

import re

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modeling_iqcr import MultimodalNERPipeline

ODD = [
    "\U0001f468\u200d\U0001f469\u200d\U0001f467",  # a family, joined by zero-width joiners
    "\U0001f1eb\U0001f1f7",  # a flag of two halves
    "\U0001f44d\U0001f3fd",  # a skin tone
    "\u2764\ufe0f",  # a variation selector
    "e\u0301\u0323",  # combining marks
    "\u0301",  # a mark without a base
    "\u0645\u0631\u062d\u0628\u0627",  # right to left
    "\u202e\u202c\u200f",  # its controls
    "\u0928\u092e\u0938\u094d\u0924\u0947",
    "\u200b\u200d\ufeff",  # zero width
    "\x00",
    "\ud83d",  # half of a surrogate pair, as broken JSON has it
    "#Washington",
    "@paris",
    "http://t.co/x?a=b&amp;c",
    "&lt;3",
    ":-)",
    "10,000.5th",
    "\u3000",
    "\xa0",
    "\n",
    "[CLS]",
    "[PAD][UNK]",
]
anything = st.one_of(
    st.text(max_size=40),
    st.text(alphabet=st.characters(exclude_categories=[]), max_size=20),  # surrogates among them
    st.lists(st.one_of(st.sampled_from(ODD), st.text(max_size=5), st.just(" ")), max_size=12).map("".join),
    st.text(alphabet=" \t\n\u3000\u2003", max_size=20),
)
# up to 10,000 characters
strings = st.one_of(anything, st.tuples(anything, st.integers(2, 300)).map(lambda pair: (pair[0] * pair[1])[:10_000]))


@settings(max_examples=2000, deadline=None, suppress_health_check=list(HealthCheck))
@given(text=strings)
def check(ner, text):
    answer = ner(text)
    assert answer["text"] == text
    assert answer["images"] == []
    assert "".join(entity["word"] for entity in answer["entities"]) == re.sub(r"\s+", "", text)
    position = 0
    for entity in answer["entities"]:
        assert text[entity["start"] : entity["end"]] == entity["word"] != ""
        assert entity["start"] >= position
        assert 0 <= entity["score"] <= 1
        position = entity["end"]


def test_2000_strings(make_model, tiny_processor):
    model = make_model()  # made to begin a new person at every word, so that a word that got lost would be missing
    model.classifier.bias.data[model.config.label2id["B-PER"]] = 1000.0
    check(MultimodalNERPipeline(model=model, processor=tiny_processor, device="cpu"))
