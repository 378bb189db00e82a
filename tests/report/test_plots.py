import re
import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest
import torch

from sleepengine.errors import SetupError
from sleepengine.report.plots import COLOURS, draw, png

HOSTILE = '<script>alert(1)</script> --> ]]> "id" id="x" #0072b2 $\\frac{ & \u2028 _'


def drawing(name="a"):
    def paint(pen):
        axes = pen.figure.subplots()
        handles = [axes.plot([1, 2], [3, k], color=COLOURS[k], marker="o")[0] for k in (0, 1)]
        axes.axvspan(1, 1.5, alpha=0.2)
        axes.set_title(HOSTILE)
        pen.legend(handles, ["_hidden?", HOSTILE])

    return draw(name, "caption", "alt", paint)


def test_svg_is_the_same_every_time_and_undated():
    first = drawing()
    assert first.svg() == first.svg() == drawing().svg()
    assert first.inline_svg() == drawing().inline_svg()
    assert "dc:date" not in first.svg()
    assert "metadata" not in first.inline_svg()


def test_svg_is_well_formed_and_keeps_hostile_names_as_text():
    for text in (drawing().svg(), drawing().inline_svg()):
        root = ET.fromstring(text)
        found = [e.text for e in root.iter("{http://www.w3.org/2000/svg}text")]
        assert found.count(HOSTILE) == 2
        assert " _hidden?" in found
        assert not list(root.iter("{http://www.w3.org/2000/svg}script"))


def test_inline_svg_takes_the_colours_of_the_page():
    text = drawing().inline_svg()
    attributes = "".join(re.findall(r"<[^>]+>", text))
    assert "#0072b2" not in attributes
    assert "stroke: var(--c0)" in attributes
    assert "font-family: var(--sans)" in attributes
    assert "<style" not in text
    assert "#0072b2" in drawing().svg()


def test_inline_ids_are_unique_to_the_drawing_and_all_references_resolve():
    one, two = drawing("one").inline_svg(), drawing("two").inline_svg()
    for name, text in (("one", one), ("two", two)):
        tags = "".join(re.findall(r"<[^>]+>", text))
        ids = re.findall(r' id="([^"]+)"', tags)
        used = set(re.findall(r"url\(#([^)]+)\)", tags)) | set(re.findall(r'href="#([^"]+)"', tags))
        assert used
        assert used == set(ids)
        assert len(ids) == len(set(ids))
        assert all(one_id.startswith(f"{name}-") for one_id in ids)


def test_the_settings_of_the_reader_neither_change_nor_matter():
    import matplotlib

    before = dict(matplotlib.rcParams)
    plain = drawing().svg()
    with matplotlib.rc_context({"lines.linewidth": 9.0, "font.size": 30.0, "axes.grid": False}):
        assert drawing().svg() == plain
    assert dict(matplotlib.rcParams) == before


def test_pyplot_is_never_imported():
    code = (
        "import sys\n"
        "import sleepengine.report\n"
        "assert 'matplotlib' not in sys.modules and 'jinja2' not in sys.modules\n"
        "from sleepengine.report.plots import draw\n"
        "draw('a', '', '', lambda pen: pen.figure.subplots()).svg()\n"
        "assert 'matplotlib' in sys.modules and 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_png_file(tmp_path):
    drawing().save_png(tmp_path / "a.png")
    drawing().save_svg(tmp_path / "a.svg")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "a.svg").read_text(encoding="utf-8") == drawing().svg()


def test_png_of_a_grid_pixel_by_pixel():
    import io

    from matplotlib.image import imread

    grid = torch.tensor([[0.0, 0.5], [1.0, float("nan")]])
    pixels = (imread(io.BytesIO(png(grid))) * 255).round().astype(int)
    assert pixels[0, 0].tolist() == [128, 128, 128, 32]
    assert pixels[0, 1].tolist() == [26, 134, 204, 144]  # 32 + 223 / 2 = 143.5
    assert pixels[1, 0].tolist() == [26, 134, 204, 255]
    assert pixels[1, 1, 3] == 0


def test_without_matplotlib_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(SetupError, match=r'matplotlib.*pip install "sleepengine\[report\]"'):
        drawing()
