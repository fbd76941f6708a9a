"""Completions by script: the first script whose pattern the prompt has answers; without one the prompt is echoed."""

import threading

_GUARD = threading.Lock()
_SCRIPTS: list[tuple[str, str]] = []


def script(pattern: str, answer: str) -> None:
    """Let prompts that contain *pattern* be answered with *answer*."""
    with _GUARD:
        _SCRIPTS.append((pattern, answer))


def completed(model: str, prompt: str) -> str:
    """Return what *model* says to *prompt*."""
    with _GUARD:
        found = next((answer for pattern, answer in _SCRIPTS if pattern in prompt), None)
    return found if found is not None else f"[{model}] {prompt}"
