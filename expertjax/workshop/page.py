"""The studio's page: three tabs over `Studio`, made with Gradio."""

import functools
from pathlib import Path
from typing import Any

import gradio as gr

from expertjax.errors import InputError
from expertjax.workshop import rendering
from expertjax.workshop.limits import (
    MOST_FILE,
    MOST_SHOWN,
    ONE_QUEUE,
    check_characters,
    lines,
    unit_numbers,
)
from expertjax.workshop.rendering import note
from expertjax.workshop.steer_tab import steer_tab
from expertjax.workshop.studio import Studio

CSS = Path(__file__).parent / "studio.css"
_CLICKED = """
element.addEventListener("click", (event) => {
  const token = event.target.closest("[data-token]");
  if (token) trigger("click", {token: Number(token.dataset.token)});
});
"""


def theme() -> gr.themes.Base:
    """Colours of the report, with contrast enough, and fonts that are here already."""
    fonts = ["system-ui", "Segoe UI", "Roboto", "Helvetica Neue", "Arial", "sans-serif"]
    mono = ["ui-monospace", "Menlo", "Consolas", "monospace"]
    both = {
        "body_text_color": ("#1b1f24", "#e6e9ed"),
        "body_text_color_subdued": ("#57606a", "#a0a9b4"),
        "block_label_text_color": ("#1b1f24", "#e6e9ed"),
        "block_title_text_color": ("#1b1f24", "#e6e9ed"),
        "block_info_text_color": ("#57606a", "#a0a9b4"),
        "input_placeholder_color": ("#646c76", "#a0a9b4"),
        "body_background_fill": ("#f6f7f9", "#0f1318"),
        "block_background_fill": ("#ffffff", "#171c23"),
        "background_fill_primary": ("#ffffff", "#171c23"),
        "input_background_fill": ("#f6f7f9", "#0f1318"),
        "button_primary_background_fill": ("#0a5ea8", "#0a5ea8"),
        "button_primary_background_fill_hover": ("#084c88", "#0d6fc5"),
        "button_primary_text_color": ("#ffffff", "#ffffff"),
        "slider_color": ("#0a5ea8", "#7db8f0"),
    }
    values = {
        name + dark: pair[i]
        for name, pair in both.items()
        for i, dark in enumerate(("", "_dark"))
    }
    return gr.themes.Base(primary_hue="blue", font=fonts, font_mono=mono).set(**values)


def build_page(studio: Studio) -> gr.Blocks:
    """The page; nothing is served yet."""
    with gr.Blocks(
        title=f"{studio.model.name} · expertjax studio",
        analytics_enabled=False,
        delete_cache=(600, 3600),
    ) as page:
        found = gr.State("")
        gr.HTML(_head(studio), elem_classes="studio")
        with gr.Tabs():
            with gr.Tab("Find"):
                find = _find_tab(studio, found)
            with gr.Tab("Look"):
                units = _look_tab(studio)
            with gr.Tab("Steer"):
                words = steer_tab(studio, found)
        hand_on = functools.partial(_hand_on, studio)
        find.then(hand_on, found, [units, words], queue=False, api_visibility="private")
    return page


def _head(studio: Studio) -> str:
    model = studio.model
    said = (
        f"{model.family.name}, {model.num_layers} layers, {studio.num_units:,} units. "
        "Nothing leaves this machine."
    )
    return f"<h1>{rendering.escaped(model.name)}</h1>{note(said)}"


def _hand_on(studio: Studio, name: str) -> tuple[str, str]:
    """What was found, as a beginning for the other tabs."""
    try:
        found = studio.found(name)
    except InputError:
        return "", ""
    best = found.top["unit"].tolist()
    return ", ".join(map(str, best[:3])), found.word


def _find_tab(studio: Studio, found: gr.State) -> Any:
    gr.HTML(
        note(
            "Write some sentences that have what you are after, and some that do not. "
            "Forty of each say much more than ten. Let them differ in nothing else."
        ),
        elem_classes="studio",
    )
    with gr.Row():
        boxes = [_box("Sentences with it"), _box("Sentences without it")]
    with gr.Row(elem_classes="ends"):
        concept = gr.Dropdown(
            studio.library.names,
            value=None,
            label="Or take those of a concept",
            interactive=True,
        )
        button = gr.Button("Find units", variant="primary")
    shown = gr.HTML(elem_classes="studio", elem_id="found")

    def take(name: str | None) -> tuple[Any, Any]:
        if not name:
            return gr.skip(), gr.skip()
        positives, negatives = studio.library.sentences(name)
        return "\n".join(positives), "\n".join(negatives)

    def run(
        with_it: str | None,
        without: str | None,
        progress: Any = gr.Progress(),  # noqa: B008 - Gradio looks for it there
    ) -> Any:
        try:
            name = studio.find(
                lines(with_it),
                lines(without),
                lambda done, count: progress((done, count), unit="sentences"),
            )
            return name, rendering.found_html(studio.found(name))
        except InputError as error:
            return "", note(str(error), "refusal")

    concept.input(take, concept, boxes, queue=False, api_visibility="private")
    return button.click(run, boxes, [found, shown], api_name="find", **ONE_QUEUE)


def _box(label: str) -> gr.Textbox:
    """A box of sentences, and a button that fills it from a file."""
    with gr.Column(min_width=260):
        box = gr.Textbox(
            label=label, lines=8, max_lines=14, placeholder="One sentence a line"
        )
        upload = gr.UploadButton(
            "From a text file", size="sm", file_count="single", file_types=["text"]
        )
    upload.upload(read_file, upload, box, queue=False, api_visibility="private")
    return box


def read_file(path: str) -> str:
    """The text of a file that was given, or why there is none."""
    try:
        check_characters(Path(path).stat().st_size, MOST_FILE)
        return Path(path).read_text("utf-8")
    except InputError as error:
        raise gr.Error(str(error), print_exception=False) from error
    except (OSError, UnicodeDecodeError) as error:
        raise gr.Error(
            "The file is no text in UTF-8.", print_exception=False
        ) from error


def _look_tab(studio: Studio) -> gr.Textbox:
    gr.HTML(
        note(
            "Type any text. Its tokens are coloured by what the units do there: orange "
            "above zero, blue below. Click a token to see what is unusual at it."
        ),
        elem_classes="studio",
    )
    text = gr.Textbox(label="Text", lines=2, max_lines=6)
    with gr.Row(elem_classes="ends"):
        units = gr.Textbox(label="Units", placeholder="12, 407", scale=2)
        button = gr.Button("Look", variant="primary")
    seen = gr.State("")
    heat = gr.HTML(elem_classes="studio", elem_id="heat", js_on_load=_CLICKED)
    token = gr.HTML(elem_classes="studio", elem_id="token")

    def look(text: str | None, units: str | None) -> tuple[str, str, str]:
        text = text or ""
        try:
            numbers = unit_numbers(units, MOST_SHOWN)
            studio.looker.check_units(numbers)
            looked = studio.looker.look(text)
            return text, rendering.heat_html(looked, numbers), ""
        except InputError as error:
            return "", note(str(error), "refusal"), ""

    def click(text: str, event: gr.EventData) -> str:
        try:
            position = int(event._data["token"])
            looked = studio.looker.look(text)
            unusual = studio.looker.unusual(looked, position)
            return rendering.token_html(looked, position, unusual)
        except InputError as error:
            return note(str(error), "refusal")
        except (KeyError, TypeError, ValueError):
            return note("No token was clicked.", "refusal")

    gr.on(
        [button.click, text.submit, units.submit],
        look,
        [text, units],
        [seen, heat, token],
        api_name="look",
        **ONE_QUEUE,
    )
    heat.click(click, seen, token, api_visibility="private", **ONE_QUEUE)
    return units
