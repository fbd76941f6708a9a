"""The sentence model: same text, same bits; near what means the same; nothing of a long text lost."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from services.models import graph, sentence
from services.models.files import VOCABULARY, WEIGHTS, ModelError
from services.models.kernels import session, signed_weights_are_exact
from services.models.sentence import FLOAT32, INT8, VARIANTS, FloatVector, SentenceModel
from services.models.tokens import WordPieceTokenizer

QUESTIONS = [json.loads(line) for line in (Path(__file__).parent / "questions.jsonl").read_text().splitlines()]
NOTES = [row["note"] for row in QUESTIONS]
LONG = " ".join(NOTES * 6)


@pytest.fixture(scope="module")
def model() -> SentenceModel:
    return SentenceModel.load()


@pytest.fixture(scope="module")
def source() -> graph.Source:
    return graph.Source.parse(WEIGHTS.read())


def test_vector_is_unit_float32_of_384(model: SentenceModel) -> None:
    vector = model.embed("tea").values

    assert vector.shape == (384,)
    assert vector.dtype == np.float32
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-6)


def test_space_names_model_revision_dimension_pooling_and_prefix() -> None:
    assert (
        INT8.space == "all-MiniLM-L6-v2-int8d@43bf4f35/384/mean/none"
    )  # kept vectors belong to it: a change is a migration


def test_text_gives_the_same_bits_whatever_is_embedded_beside_it(model: SentenceModel) -> None:
    texts = [*NOTES[:20], LONG]
    alone = [model.embed(text).values.tobytes() for text in texts]

    with ThreadPoolExecutor(4) as workers:
        beside = list(workers.map(lambda text: model.embed(text).values.tobytes(), texts * 3))

    assert beside == alone * 3


def test_windows_of_a_long_text_have_the_vectors_of_their_stretches(model: SentenceModel) -> None:
    windows = model.embed(LONG).windows

    assert windows is not None
    assert len(windows.spans) > 2
    for (start, end), values in zip(windows.spans.tolist(), windows.values, strict=True):
        assert values.tobytes() == model.embed(LONG[start:end]).values.tobytes()


def test_text_of_one_window_has_none_apart(model: SentenceModel) -> None:
    assert model.embed(NOTES[0]).windows is None


def test_second_load_gives_the_same_bits(model: SentenceModel) -> None:
    again = SentenceModel.load()

    assert all(again.embed(note).values.tobytes() == model.embed(note).values.tobytes() for note in NOTES[:10])


def test_both_forms_of_the_weights_give_the_same_bits(source: graph.Source) -> None:
    if not signed_weights_are_exact():
        pytest.skip("this processor saturates u8 x s8 products, so only the other form is ever used")
    tokenizer = WordPieceTokenizer(VOCABULARY.read())
    runtimes = [session(graph.build(source, signed_weights=signed)) for signed in (True, False)]
    signed, unsigned = (SentenceModel(tokenizer, runtime) for runtime in runtimes)

    assert all(signed.embed(note).values.tobytes() == unsigned.embed(note).values.tobytes() for note in NOTES[:20])


def test_vectors_stay_close_to_the_shipped_float_model(model: SentenceModel) -> None:
    shipped = ort.InferenceSession(WEIGHTS.locate(), providers=["CPUExecutionProvider"])
    tokenizer = WordPieceTokenizer(VOCABULARY.read())

    cosines = [float(model.embed(note).values @ _shipped_vector(shipped, tokenizer, note)) for note in NOTES]

    assert np.mean(cosines) > 0.99
    assert min(cosines) > 0.97


def test_question_finds_its_note_by_meaning(model: SentenceModel) -> None:
    notes = np.stack([model.embed(row["note"]).values for row in QUESTIONS])
    questions = np.stack([model.embed(row["question"]).values for row in QUESTIONS])

    similarity = questions @ notes.T

    true = np.diag(similarity)
    ranks = (similarity > true[:, None]).sum(axis=1)
    assert (ranks < 3).mean() >= 0.9
    assert (true >= sentence.THRESHOLD).mean() >= 0.95
    assert (similarity[~np.eye(len(QUESTIONS), dtype=bool)] >= sentence.THRESHOLD).mean() <= 0.1


def test_words_at_the_end_of_a_long_text_count(model: SentenceModel) -> None:
    filler = "The committee met on Tuesday and approved the minutes. " * 120
    question = model.embed("how do penguins survive the cold").values

    plain = model.embed(filler)
    tail = model.embed(filler + "Penguins keep warm by huddling together on the ice. " * 20)

    assert tail.window_count > 1
    assert question @ tail.values > question @ plain.values + 0.1


def test_long_text_reports_windows_and_tokens(model: SentenceModel) -> None:
    vector = model.embed("tea " * 500)

    assert vector.window_count == 3  # 254 tokens, then 254 of which 32 repeat, then the rest
    assert vector.token_count == 500 + 2 * 32
    assert np.linalg.norm(vector.values) == pytest.approx(1, abs=1e-6)


def test_reading_a_long_text_step_by_step_gives_the_same_bits(model: SentenceModel) -> None:
    whole = model.embed(LONG)
    reading = model.read(LONG)

    steps = [reading.step() for _ in range(whole.window_count)]

    assert reading.steps == whole.window_count
    assert steps[:-1] == [None] * (whole.window_count - 1)
    assert steps[-1] is not None
    assert steps[-1].values.tobytes() == whole.values.tobytes()


def test_reading_a_long_text_on_several_threads_gives_the_same_bits(model: SentenceModel) -> None:
    whole = model.embed(LONG)
    reading = model.read(LONG)
    assert reading.step() is None

    with ThreadPoolExecutor(4) as workers:
        rest = [workers.submit(reading.step) for _ in range(reading.steps - 1)]

    (vector,) = [found for step in rest if (found := step.result()) is not None]
    assert vector.values.tobytes() == whole.values.tobytes()


@pytest.mark.parametrize(
    "part", ["attention.self.value", "attention.output.dense", "intermediate.dense", "output.dense"]
)
def test_check_refuses_damaged_weights(source: graph.Source, part: str) -> None:
    damaged = {
        name: graph.Linear(np.roll(layer.weight, 1, axis=0), layer.scale, layer.bias)
        for name, layer in source.linears.items()
        if name.endswith(part)
    }
    spoilt = graph.Source(source.arrays, source.linears | damaged)
    model = SentenceModel(WordPieceTokenizer(VOCABULARY.read()), session(graph.build(spoilt, signed_weights=False)))

    with pytest.raises(ModelError, match="self check"):
        model.check()


def test_check_refuses_another_vocabulary(source: graph.Source) -> None:
    first, *pieces = VOCABULARY.read().decode().splitlines()
    shifted = "\n".join([first, *pieces[:1000], *pieces[1001:], pieces[1000]]).encode()
    model = SentenceModel(WordPieceTokenizer(shifted), session(graph.build(source, signed_weights=False)))

    with pytest.raises(ModelError, match="self check"):
        model.check()


def test_parse_refuses_a_file_of_another_form() -> None:
    with pytest.raises(ModelError, match="found 0"):
        graph.Source.parse(onnx.ModelProto().SerializeToString())


def _shipped_vector(shipped: ort.InferenceSession, tokenizer: WordPieceTokenizer, text: str) -> FloatVector:
    ids = tokenizer.windows(text)[0].token_ids[np.newaxis]
    inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    mean = shipped.run(None, inputs)[0][0].mean(axis=0)
    vector: FloatVector = mean / np.linalg.norm(mean)
    return vector


def test_float_variant_computes_as_the_shipped_model_and_in_a_space_of_its_own() -> None:
    model = SentenceModel.load(FLOAT32)
    shipped = ort.InferenceSession(WEIGHTS.locate(), providers=["CPUExecutionProvider"])
    tokenizer = WordPieceTokenizer(VOCABULARY.read())

    cosines = [float(model.embed(note).values @ _shipped_vector(shipped, tokenizer, note)) for note in NOTES[:20]]

    assert min(cosines) > 0.9999
    assert len({variant.space for variant in VARIANTS}) == 2
