from __future__ import annotations

from matplotlib.patches import Rectangle

from admire_pipeline.reporting.figures import draw_curves, draw_mixture


def test_mixture_has_a_bar_per_domain() -> None:
    figure = draw_mixture("trial-001", {"a": (0.25, 0.5), "b": (0.75, 2.0), "c": (0.0, 0.0)})
    (axes,) = figure.axes
    widths = [bar.get_width() for bar in axes.patches if isinstance(bar, Rectangle)]
    assert widths == [0.0, 0.75, 0.25]
    assert [text.get_text() for text in axes.texts][1] == "75.0%, 2.00 epochs"


def test_curves_show_training_and_every_validation_domain() -> None:
    curves = [
        {"step": 1, "loss": 5.0},
        {"step": 2, "loss": 4.0},
        {"step": 2, "validation.bits_per_byte": 3.0, "validation.bits_per_byte.a": 3.5},
        {"step": 4, "validation.bits_per_byte": 2.0, "validation.bits_per_byte.a": 2.5},
    ]
    left, right = draw_curves("trial-001", curves).axes
    assert list(left.lines[0].get_ydata()) == [5.0, 4.0]
    assert {line.get_label() for line in right.lines} == {"a", "mean"}
    assert list(right.lines[1].get_ydata()) == [3.0, 2.0]


def test_curves_of_a_training_without_evaluations() -> None:
    left, right = draw_curves("trial-001", [{"step": 1, "loss": 5.0}]).axes
    assert len(left.lines) == 1 and len(right.lines) == 0
