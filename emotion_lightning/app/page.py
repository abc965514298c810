"""The page as Gradio components. Gradio reads its environment when it is imported, so server.py imports this file late."""

from pathlib import Path
from typing import Any

import gradio

from emotion_lightning.app import answer, saliency
from emotion_lightning.serving.about import About
from emotion_lightning.serving.recogniser import Recogniser

KEPT_MINUTES = 30
MOST_MEGABYTES = 100
MARKS = {
    "DEMO": "**DEMO: trained on generated voices.** It knows nothing about real speech.",
    "LEAKY": "**LEAKY:** copies of one clip were in training and test, a mistake rebuilt on purpose. Its scores mean nothing.",
    "PERMUTED LABELS": "**PERMUTED LABELS:** trained on wrong emotions on purpose. Its answers mean nothing.",
}
EMPTY = "The answer appears here."
NOTHING = "Choose a file or record something first."
CSS = """
.gradio-container { max-width: min(76rem, 100vw) !important; margin: 0 auto !important; }
div.block.notice { border: 1px solid #d9a400; border-radius: .4rem; padding: .6rem .9rem !important; background: #d9a4001f; }
.quiet { font-size: .9rem; opacity: .85; }
.prose table { display: block; overflow-x: auto; width: fit-content; max-width: 100%; border: 0 !important; }
.prose :is(td, th) { overflow-wrap: normal; word-break: normal; }
.html-container:has(img.picture) { padding: 0 !important; }
img.picture { display: block; width: 100%; background: white; border-radius: .4rem; }
"""
# system-ui: fonts of the machine, because other ones would be fetched from the network
THEME = gradio.themes.Default(
    primary_hue="blue", font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
)


def build(recogniser: Recogniser, card: str) -> gradio.Blocks:
    """Builds the page for a model with its card in Markdown."""
    about = recogniser.about
    title = f"Speech emotion recognition: {about.title}"
    kept = (60, 60 * KEPT_MINUTES)  # s: how often old files are looked for, and how old they are
    with gradio.Blocks(title=title, delete_cache=kept, analytics_enabled=False) as page:
        gradio.Markdown(f"# Speech emotion recognition\n\n{introduction(about)}")
        for mark, sentence in MARKS.items():
            if mark in about.title.split(" · "):
                gradio.Markdown(sentence, elem_classes="notice")
        with gradio.Tab("Recording"):
            _recognise(recogniser)
        with gradio.Tab("Model card"):
            gradio.Markdown(card)
    return page.queue(max_size=20)


def introduction(about: About) -> str:
    """Returns what the model is, how often it is right, and what it must not be used for."""
    uar = about.figures.get("test/uar")
    right = "" if uar is None else f" On {answer.test_speakers(about)} it finds {uar:.0%} of each emotion on average "
    right += f"(UAR; guessing finds {1 / len(about.classes):.0%})." if right else ""
    return (
        f"Model **{about.title}**. It says which emotion a short recording of speech sounds like, compared with the acted speech "
        f"of its training.{right} It does not know what a person feels, and **it must not be used for decisions about people**."
    )


def _recognise(recogniser: Recogniser) -> None:
    """Adds the input on the left and the answer on the right; on a telephone, the answer is below."""

    def present(shown: answer.Shown) -> tuple[Any, ...]:
        drawn = (gradio.HTML(html, visible=bool(html)) for html in (shown.spectrogram, shown.timeline))
        has_answer = shown.probabilities is not None
        bars = gradio.Label(shown.probabilities, visible=has_answer)
        button = gradio.Button(visible=has_answer and not shown.timeline and saliency.is_available())
        return shown.text, bars, *drawn, button, gradio.HTML("", visible=False)

    def reset(path: str | None) -> tuple[Any, ...]:
        return *present(answer.Shown(EMPTY)), gradio.Button(interactive=path is not None)

    def recognise(path: str | None) -> tuple[Any, ...]:
        return present(answer.show(recogniser, Path(path)) if path else answer.Shown(NOTHING))

    def explain(path: str | None) -> gradio.HTML:
        return gradio.HTML(saliency.show(recogniser, Path(path)) if path else NOTHING, visible=True)

    with gradio.Row():
        with gradio.Column():
            sound = gradio.Audio(
                sources=["upload", "microphone"], type="filepath", label="Upload or record", buttons=[]
            )
            start = gradio.Button("Recognise", variant="primary", interactive=False)
            gradio.Markdown(privacy(), elem_classes="quiet")
        with gradio.Column():
            text = gradio.Markdown(EMPTY)
            bars = gradio.Label(label="Probabilities", show_heading=False, visible=False)
            drawn = [gradio.HTML(visible=False) for _ in ("spectrogram", "timeline")]
            button = gradio.Button("Show what mattered", visible=False)
            what_mattered = gradio.HTML(visible=False)
    outputs = [text, bars, *drawn, button, what_mattered]
    start.click(recognise, sound, outputs, api_name="recognise", scroll_to_output=True)
    button.click(explain, sound, what_mattered, api_name="explain")
    # an answer must not stand beside another recording
    sound.change(reset, sound, [*outputs, start], show_progress="hidden", api_visibility="private")


def privacy() -> str:
    """Returns what is accepted, and what becomes of a recording."""
    return (
        f"Up to {answer.MOST_MINUTES} minutes and {MOST_MEGABYTES} MB. A recording goes to the machine that runs this page, and "
        f"nowhere else. It is deleted there {KEPT_MINUTES} minutes later, or when the program ends."
    )
