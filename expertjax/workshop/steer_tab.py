"""The third tab of the studio's page: three texts side by side, and their file."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from expertjax.errors import InputError
from expertjax.workshop import rendering
from expertjax.workshop.limits import MOST_NEW, MOST_UNITS, ONE_QUEUE, unit_numbers
from expertjax.workshop.rendering import note
from expertjax.workshop.steer import KINDS, VALUES, Wish
from expertjax.workshop.studio import YOURS, Studio, Written

_KINDS = {
    "force": "set them to a value",
    "ablate": "switch them off",
    "damp": "turn them down",
    "aura": "turn down by how well they know it",
}
_VALUES = {
    "on_p50": "their median on sentences with it",
    "on_p90": "a high value on sentences with it",
    "off_mean": "their mean on sentences without it",
}


def steer_tab(studio: Studio, found: gr.State) -> gr.Textbox:
    """The tab; gives the box of words to mark, which Find fills."""
    if not studio.model.family.causal:
        gr.HTML(
            note(
                f"{studio.model.name} reads texts and does not write any. Open the "
                "studio with a causal model, such as GPT-2 or Llama, to steer it."
            ),
            elem_classes="studio",
            elem_id="no-writer",
        )
        return gr.Textbox(visible=False)
    prompt = gr.Textbox(label="Prompt", value="Once upon a time", max_lines=4)
    with gr.Row():
        whose = gr.Dropdown(
            studio.concepts, value=YOURS, label="Best units for", min_width=240
        )
        kind = gr.Dropdown(
            [(_KINDS[name], name) for name in KINDS],
            value="force",
            label="What to do",
            min_width=240,
        )
        count = gr.Slider(
            0,
            min(MOST_UNITS, studio.num_units),
            value=50,
            step=1,
            label="How many units",
        )
    with gr.Accordion("More", open=False):
        with gr.Row():
            value = gr.Dropdown(
                [(_VALUES[name], name) for name in VALUES],
                value="on_p50",
                label="The value they are set to",
            )
            strength = gr.Slider(
                0, 2, value=0.5, step=0.05, label="Turned down to this share"
            )
            units = gr.Textbox(label="Other units, by number", placeholder="12, 407")
        with gr.Row():
            new = gr.Slider(8, MOST_NEW, value=40, step=1, label="Tokens to write")
            temperature = gr.Slider(0, 2, value=0.8, step=0.05, label="Temperature")
            top_p = gr.Slider(0.05, 1, value=0.9, step=0.05, label="Top p")
            seed = gr.Number(0, label="Seed", precision=0)
        with gr.Row():
            words = gr.Textbox(label="Words to mark", placeholder="river, lake")
            edit = gr.File(
                label="Or an edit that was saved", file_types=[".json"], height=120
            )
    with gr.Row():
        button = gr.Button("Write", variant="primary")
        stop = gr.Button("Stop")
    shown = gr.HTML(elem_classes="studio", elem_id="texts")
    with gr.Accordion("Save and reproduce", open=False):
        gr.HTML(
            note(
                "The file holds the edits, the texts, and both of these; unpack it and "
                "run one of them there."
            ),
            elem_classes="studio",
        )
        file = gr.DownloadButton("Save all as a ZIP file", interactive=False)
        how = gr.HTML(elem_classes="studio", elem_id="how")
    asked = [
        prompt, whose, kind, count, value, strength, units, new, temperature, top_p,
        seed, words, edit,
    ]  # fmt: skip
    write = functools.partial(write_texts, studio)
    writing = gr.on(
        [button.click, prompt.submit],
        write,
        [found, *asked],
        [shown, file, how],
        api_name="steer",
        **ONE_QUEUE,
    )
    again = gr.on(
        [slider.release for slider in (count, strength, new, temperature, top_p)],
        functools.partial(_write_again, write),
        [shown, found, *asked],
        [shown, file, how],
        trigger_mode="always_last",
        api_visibility="private",
        **ONE_QUEUE,
    )
    stop.click(None, cancels=[writing, again], queue=False, api_visibility="private")
    return words


def write_texts(
    studio: Studio,
    name: str,
    prompt: str | None,
    whose: str,
    kind: Any,
    count: float,
    value: str,
    strength: float,
    units: str | None,
    new: float,
    temperature: float,
    top_p: float,
    seed: float,
    words: str | None,
    edit: str | None,
) -> Iterator[tuple[str, Any, str]]:
    """The texts as HTML after each token; at the end also what reproduces them."""
    try:
        marked = tuple(
            filter(None, (word.strip() for word in (words or "").split(",")))
        )
        wish = Wish(
            prompt=prompt or "",
            units=tuple(unit_numbers(units, MOST_UNITS)),
            kind=kind,
            num_units=int(count),
            value=value,
            strength=float(strength),
            seed=int(seed or 0),
            max_new_tokens=int(new),
            temperature=float(temperature),
            top_p=float(top_p),
            words=marked,
        )
        path = Path(edit) if edit else None
        # Closed with this, so that a page that goes stops the writing at once.
        with contextlib.closing(studio.write(name, whose, wish, path)) as writing:
            for written in writing:
                yield _shown(wish, written)
    except InputError as error:
        yield note(str(error), "refusal"), gr.DownloadButton(interactive=False), ""


def _shown(wish: Wish, written: Written) -> tuple[str, Any, str]:
    html = rendering.texts_html(
        wish.prompt, written.texts, wish.words, written.perplexity
    )
    if written.file is None:
        return html, gr.DownloadButton(interactive=False), ""
    file = gr.DownloadButton(value=str(written.file), interactive=True)
    return html, file, rendering.how_html(written.snippet, written.command)


def _write_again(
    write: Callable[..., Iterator[Any]], shown: str | None, *asked: Any
) -> Iterator[Any]:
    """A slider was let go: writes again, if anything was written before."""
    if not shown:
        yield gr.skip(), gr.skip(), gr.skip()
        return
    yield from write(*asked)
