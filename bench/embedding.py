"""Speed and fidelity of the local sentence model beside the file it is made from; everything in one run, by turns.

    .venv/bin/python -m bench.embedding [--rounds 5]

Rows: `shipped` multiplies the packaged weights in float32; `signed` and `unsigned` are the two integer forms of the
same weights (services/models/kernels.py), of which a processor uses the first if that is exact there. Only the ratios of one run compare.
"""

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from bench.embedding_threshold import sample
from services.embedding.backends.local import LocalEmbedder
from services.embedding.domain.embedder import InputKind
from services.models import graph
from services.models.files import VOCABULARY, WEIGHTS
from services.models.kernels import session, signed_weights_are_exact
from services.models.sentence import INT8, SentenceModel
from services.models.tokens import WordPieceTokenizer

Ids = NDArray[np.int64]
Taken = dict[str | int, list[float]]  # latencies in ms by size, texts a second by workers
Run = Callable[[Ids], NDArray[np.float32]]
NOTES = [
    json.loads(line)["note"]
    for line in (Path(__file__).parents[1] / "tests/unit/models/questions.jsonl").read_text().splitlines()
]
SIZES = {"8 words": 12, "128 tokens": 128, "256 tokens": 256}
RUNS = {"8 words": 200, "128 tokens": 40, "256 tokens": 20}


def shipped() -> Run:
    """Return the packaged model as it is, with mean pooling and normalisation in numpy."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    runtime = ort.InferenceSession(WEIGHTS.locate(), options, providers=["CPUExecutionProvider"])

    def run(ids: Ids) -> NDArray[np.float32]:
        inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        mean = runtime.run(None, inputs)[0][0].mean(axis=0)
        vector: NDArray[np.float32] = mean / np.linalg.norm(mean)
        return vector

    return run


def integer(source: graph.Source, *, signed: bool) -> Run:
    """Return one integer form of the model."""
    runtime = session(graph.build(source, signed_weights=signed))

    def run(ids: Ids) -> NDArray[np.float32]:
        vector: NDArray[np.float32] = runtime.run(None, {graph.INPUT: ids})[0][0]
        return vector

    return run


def latencies_ms(run: Run, ids: Ids, times: int) -> list[float]:
    """Return how long each of *times* runs took."""
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        run(ids)
        taken.append((time.perf_counter() - start) * 1e3)
    return taken


def rate(run: Run, texts: list[Ids], workers: int) -> float:
    """Return texts a second with *workers* threads, one text a run."""
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(run, texts[:workers]))
        start = time.perf_counter()
        list(pool.map(run, texts))
        return len(texts) / (time.perf_counter() - start)


async def service_rate(workers: int, texts: list[str]) -> float:
    """Return texts a second through the queue and workers of the service, 50 requests at once."""
    embedder = await asyncio.to_thread(LocalEmbedder.load, workers)
    start = time.perf_counter()
    lanes = [embedder.submit(texts[number::50], InputKind.DOCUMENT) for number in range(50)]
    await asyncio.gather(*(future for lane in lanes for future in lane))
    taken = time.perf_counter() - start
    await embedder.close()
    return len(texts) / taken


def measure(runs: dict[str, Run], rounds: int) -> dict[str, Taken]:
    """Return for each model its latencies by size and its rates by workers, taken by turns."""
    generator = np.random.default_rng(1)
    inputs = {name: generator.integers(1000, 30000, (1, size)).astype(np.int64) for name, size in SIZES.items()}
    short = [generator.integers(1000, 30000, (1, 12)).astype(np.int64) for _ in range(300)]
    keys: list[str | int] = [*SIZES, 1, 2]
    taken: dict[str, Taken] = {name: {key: [] for key in keys} for name in runs}
    for round_number in range(rounds + 1):
        for name, run in runs.items():
            for size, ids in inputs.items():
                found = latencies_ms(run, ids, RUNS[size])
                if round_number:  # the first round warms up
                    taken[name][size] += found
            for workers in (1, 2):
                taken[name][workers].append(rate(run, short, workers))
    return taken


def fidelity(runs: dict[str, Run]) -> dict[str, tuple[float, float]]:
    """Return the mean and least cosine of each model to the shipped one, over notes and long texts."""
    tokenizer = WordPieceTokenizer(VOCABULARY.read())
    texts = NOTES + [" ".join(NOTES[start : start + 6]) for start in range(0, len(NOTES), 6)]
    ids = [tokenizer.windows(text)[0].token_ids[np.newaxis] for text in texts]
    wanted = [runs["shipped"](one) for one in ids]
    cosines = {
        name: [float(run(one) @ want) for one, want in zip(ids, wanted, strict=True)] for name, run in runs.items()
    }
    return {name: (statistics.fmean(found), min(found)) for name, found in cosines.items()}


def retrieval(run: Run, pairs: list[tuple[str, str]]) -> tuple[float, float]:
    """Return how often the paragraph that explains a summary is the first, and among the first ten, of all paragraphs."""
    tokenizer = WordPieceTokenizer(VOCABULARY.read())
    summaries, paragraphs = (
        np.stack([run(tokenizer.windows(pair[side])[0].token_ids[np.newaxis]) for pair in pairs]) for side in (0, 1)
    )
    similarity = summaries @ paragraphs.T
    ranks = (similarity > np.diag(similarity)[:, np.newaxis]).sum(axis=1)
    return float((ranks < 1).mean()), float((ranks < 10).mean())


def report(taken: dict[str, Taken], close: dict[str, tuple[float, float]]) -> None:
    """Print the tables."""
    sizes = [f"{size} p50 / p99 ms" for size in SIZES]
    print(
        "| model | "
        + " | ".join([*sizes, "short texts/s, 1 worker", "2 workers", "cosine to shipped, mean / min"])
        + " |"
    )
    print("|" + "---|" * (len(sizes) + 4))
    for name, values in taken.items():
        cells = [f"{np.percentile(values[size], 50):.2f} / {np.percentile(values[size], 99):.2f}" for size in SIZES]
        cells += [f"{statistics.median(values[workers]):.0f}" for workers in (1, 2)]
        cells.append(f"{close[name][0]:.4f} / {close[name][1]:.4f}")
        print(f"| {name} | " + " | ".join(cells) + " |")
    print("\n| times as fast as shipped | " + " | ".join(SIZES) + " | short texts/s, 2 workers |")
    print("|" + "---|" * (len(SIZES) + 2))
    base = taken["shipped"]
    for name, values in taken.items():
        cells = [f"{np.percentile(base[size], 50) / np.percentile(values[size], 50):.2f}" for size in SIZES]
        cells.append(f"{statistics.median(values[2]) / statistics.median(base[2]):.2f}")
        print(f"| {name} | " + " | ".join(cells) + " |")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args(arguments).rounds
    start = time.perf_counter()
    SentenceModel.load()
    print(
        f"space {INT8.space}; load {time.perf_counter() - start:.2f} s; signed form exact here: {signed_weights_are_exact()}\n"
    )
    source = graph.Source.parse(WEIGHTS.read())
    runs = {"shipped": shipped(), "signed": integer(source, signed=True), "unsigned": integer(source, signed=False)}
    report(measure(runs, rounds), fidelity(runs))
    pairs = sample(1000)
    for name in ("shipped", "signed"):
        first, tenth = retrieval(runs[name], pairs)
        print(f"\n{name}: of 1,000 paragraphs the right one is first for {first:.1%}, in the first ten for {tenth:.1%}")
    texts = [f"{NOTES[number % len(NOTES)][:40]} {number}" for number in range(1500)]
    rates = [asyncio.run(service_rate(workers, texts)) for workers in (1, 2)]
    print(
        f"\nthrough the service's queue, 50 requests at once: {rates[0]:.0f} texts/s with 1 worker, {rates[1]:.0f} with 2"
    )


if __name__ == "__main__":
    main()
