"""The page on which one steps through both passes: its data, which are the engine's numbers, and the page in a browser.

The tests in a browser need Chromium and Playwright: `pip install -e ".[browser]"`, and CHROMIUM=path if the browser is
not where it usually is.  Where they are missing these tests are skipped, and the summary of the run says so.
"""

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

import chainrule as cr
from chainrule import Tensor, nn
from chainrule.walk.pull import pull, started

OUT = Path(__file__).parent.parent / "out" / "show"


def story(y, tmp_path, leaves=()):
    """What the page was given, read from the page; of leaves that are in sight, values are known."""
    page = cr.show(y, tmp_path / "page.html", open=False).read_text(encoding="utf-8")
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1])


def same(shown, value):
    """Whether a number of the page has every digit of a value."""
    value = np.asarray(value)
    assert shown["shape"] == list(value.shape)
    exact = np.asarray(shown["exact"], dtype=object)
    np.testing.assert_array_equal(np.vectorize(value.dtype.type, otypes=[value.dtype])(exact), value)


def neuron():
    w, x, b = Tensor(2.0, name="w"), Tensor(1.0, name="x"), Tensor(0.5, name="b")
    return nn.sigmoid(w * x + b), (w, x, b)


def network():
    net = nn.Sequential(nn.Linear(3, 4, rng=0), nn.Tanh(), nn.Linear(4, 2, rng=1))
    loss = nn.cross_entropy(net(np.random.default_rng(0).normal(size=(5, 3))), np.arange(5) % 2)
    return loss + 0.1 * sum(np.sum(p**2) for p in net.parameters()), net.parameters()


def writes():
    x = Tensor([1.0, 2.0, 3.0], name="x")
    y = x * 1.0
    y[0] = x[1] * x[2]
    y[1:] *= x[:2]
    return np.sum(y * x), [x]


def zero_wins():
    x = Tensor([0.0, 4.0], name="x")
    return np.sum(np.where(x.data > 1, np.sqrt(x), 0.0) * np.sqrt(x)), [x]


def mixed():
    x, z = Tensor(np.float32([1.5, 2.5]), name="x"), Tensor([1 + 2j, 3j], name="z")
    return np.sum(np.real(z * x * np.conj(z)) ** 2), [x, z]


def linear_algebra():
    rng = np.random.default_rng(1)
    A, b = Tensor(rng.normal(size=(3, 3)), name="A"), Tensor(rng.normal(size=3), name="b")
    return np.sum(np.linalg.solve(A, b) ** 2) + np.max(np.cumsum(np.sort(b))), [A, b]


def several():
    x = Tensor([[1.0, 2.0], [3.0, 4.0]], name="x")
    return np.concatenate([x, np.sin(x) / x]) + x[0], [x]


PROGRAMS = [neuron, network, writes, zero_wins, mixed, linear_algebra, several]


@pytest.mark.parametrize("program", PROGRAMS)
def test_numbers_are_those_of_the_engine(program, tmp_path):
    """Every gradient, and every cotangent on the way, to the last digit."""
    y, leaves = program()
    data = story(y, tmp_path)
    backward = [step for step in data["steps"] if step["phase"] == "backward"]
    operations = [node for node in cr.graph.ordered([y.node])[0] if node.rule is not None]
    assert len(backward) == len(operations)
    arrived = dict(zip([node.index for node in reversed(operations)], backward, strict=True))
    start = started(y, None)
    for node in operations:
        _, (ct,), _ = pull([y.node], [start], [node], differentiable=False)
        incoming = arrived[node.index]["incoming"]
        if ct is None:
            assert incoming is None
        else:
            same(incoming, ct)
    y.backward()
    gradients = [each["value"] for each in data["steps"][-1]["gradients"]]
    assert len(gradients) == len(leaves)
    for shown, leaf in zip(gradients, leaves, strict=True):
        same(shown, leaf.grad)


@pytest.mark.parametrize("program", [neuron, network, several])
def test_sums_add_up(program, tmp_path):
    """What was there and what is sent make the sum, and the last sum is what arrives or the gradient."""
    y, _ = program()
    data = story(y, tmp_path)
    sums = {}
    for step in data["steps"]:
        if step["phase"] == "start":
            sums[step["box"]] = step["sum"]
        elif step["phase"] == "backward":
            assert sums[step["box"]] == step["incoming"]
            for part in step["parts"]:
                last = part is [other for other in step["parts"] if other["to"] == part["to"]][-1]
                if last:
                    terms = [other["sent"] for other in step["parts"] if other["to"] == part["to"]]
                    terms += [sums[part["to"]]] if part["to"] in sums else []
                    total = sum(np.asarray(term["exact"], dtype=object).astype(float) for term in terms)
                    np.testing.assert_allclose(np.asarray(part["sum"]["exact"], dtype=object).astype(float), total)
                    sums[part["to"]] = part["sum"]
        elif step["phase"] == "end":
            for each in step["gradients"]:
                assert sums[each["box"]] == each["value"]


def test_the_steps_of_a_neuron(tmp_path):
    y, leaves = neuron()
    data = story(y, tmp_path, leaves)
    assert [step["phase"] for step in data["steps"]] == ["forward"] * 3 + ["start"] + ["backward"] * 3 + ["end"]
    assert [step["text"] for step in data["steps"][:3]] == ["v₁ = w·x", "v₂ = v₁ + b", "y = σ(v₂)"]
    assert [step["value"]["text"] for step in data["steps"][:3]] == ["2", "2.5", "0.924142"]
    (part,) = data["steps"][4]["parts"]
    assert (part["symbol"], part["local"], part["formula"]) == ("dy/dv₂", "∂y/∂v₂", "σ′(v₂) = y·(1 − y)")
    assert (part["value"]["text"], part["sent"]["text"], part["complete"]) == ("0.0701037", "0.0701037", True)
    to_w, to_x = data["steps"][6]["parts"]
    assert (to_w["formula"], to_w["value"]["text"], to_w["sum"]["text"]) == ("x", "1", "0.0701037")
    assert (to_x["formula"], to_x["value"]["text"], to_x["sum"]["text"]) == ("w", "2", "0.140207")


def test_nothing_is_changed(tmp_path):
    y, leaves = network()
    cr.show(y, tmp_path / "page.html", open=False)
    assert all(leaf.grad is None for leaf in leaves)
    y.backward()


def test_more_than_two_thousand_operations_are_folded(tmp_path):
    v = h = Tensor(0.3, name="h")
    for _ in range(2000):
        v = np.sin(v) + h
    data = story(v, tmp_path)
    assert len(data["boxes"]) == 6
    assert data["notes"] == ["3,996 of 4,000 operations are folded into 1 box, each of which is one step"]
    (fold,) = (
        step
        for step in data["steps"]
        if step["phase"] == "backward"
        and "incoming" in step
        and len(step["parts"]) == 2
        and "sent" not in step["parts"][0]
    )
    assert [part["name"] for part in fold["parts"]] == ["v₂", "h"]
    v.backward()
    same(data["steps"][-1]["gradients"][0]["value"], h.grad)


def test_a_million_operations(tmp_path):
    v = h = Tensor(1.0, name="h")
    for _ in range(1_000_000):
        v = v + h
    data = story(v, tmp_path)
    assert len(data["steps"]) < 30
    assert "of 1,000,000 operations are folded" in data["notes"][0]
    v.backward()
    same(data["steps"][-1]["gradients"][0]["value"], h.grad)


def test_an_operation_with_several_results(tmp_path):
    x = Tensor([1.0, 2.0], name="x")
    y = cr.checkpoint(lambda x: np.sum(np.sin(x)))(x)
    data = story(y, tmp_path)
    assert "several values" in cr.draw(y)
    y.backward()
    same(data["steps"][-1]["gradients"][0]["value"], x.grad)


def test_inside_a_transform(tmp_path):
    def f(x):
        y = np.sum(np.sin(x) * x)
        stories.append(story(y, tmp_path))
        return y

    stories = []
    x = np.array([1.0, 2.0])
    gradient = cr.grad(f)(x)
    cr.grad(lambda x: np.sum(cr.grad(f)(x)))(x)
    for data in stories:
        same(data["steps"][-1]["gradients"][0]["value"], gradient)


def test_names_are_those_of_the_variables(tmp_path):
    slope, at = Tensor(2.0), Tensor(3.0)
    line = slope * at
    page = cr.show(np.exp(line), tmp_path / "page.html", open=False).read_text(encoding="utf-8")
    assert "line = slope·at" in page


def test_the_page_needs_nothing_else(tmp_path):
    x = Tensor(1.0, name="</script><img src=x>")
    page = cr.show(np.sin(x), tmp_path / "page.html", open=False).read_text(encoding="utf-8")
    assert not re.findall(r"(?:https?:)?//(?!www\.w3\.org/2000/svg)[\w.]+\.\w+", page)
    assert "<img" not in page
    assert page.count("</script>") == 2
    assert "{{" not in page


def test_the_template_is_part_of_the_package():
    assert cr.walk.show.TEMPLATE.parent == Path(cr.__file__).parent / "walk"


def test_temporary_by_default_and_opened(monkeypatch):
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    y, _ = neuron()
    page = cr.show(y)
    try:
        assert opened == [page.as_uri()]
        assert page.suffix == ".html"
    finally:
        page.unlink()


def test_bad_input(tmp_path):
    for y in (np.ones(3), 1.0, Tensor(1.0).detach()):
        with pytest.raises(cr.errors.OutputError, match="no graph: show a Tensor"):
            cr.show(y, open=False)
    y, _ = neuron()
    with pytest.raises(FileNotFoundError, match="missing"):
        cr.show(y, tmp_path / "missing" / "page.html", open=False)
    y.backward()
    with pytest.raises(cr.errors.FreedGraphError, match=r"show\(\).*retain_graph=True"):
        cr.show(y, open=False)


# -- in a browser ----------------------------------------------------------------------------------------------------
def executable():
    found = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    return found or pytest.skip("no Chromium: install it, or set CHROMIUM to its path")


@pytest.fixture(scope="module")
def browser():
    path = executable()
    api = pytest.importorskip("playwright.sync_api", reason='no Playwright: pip install -e ".[browser]"')
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def visit(browser, tmp_path):
    """Open the page of a result, offline; whatever the console says is an error."""
    said, contexts = [], []

    def visit(y, scheme="light", width=1280):
        file = cr.show(y, tmp_path / "page.html", open=False)
        context = browser.new_context(
            color_scheme=scheme, viewport={"width": width, "height": 800}, reduced_motion="reduce", offline=True
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: request.url == file.as_uri() or said.append(request.url))
        page.goto(file.as_uri())
        page.wait_for_selector("#count:not(:empty)")
        return page

    yield visit
    for context in contexts:
        context.close()
    assert said == []


def detail(page):
    return " ".join(page.inner_text("#step").split())


def picture(page, name):
    OUT.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=OUT / f"{name}.png")
    assert (OUT / f"{name}.png").stat().st_size > 10_000


def test_steps_and_numbers(visit):
    y, leaves = neuron()
    page = visit(y)
    page.check("#digits")
    y.backward(retain_graph=True)
    assert page.inner_text("#count") == "1 / 8"
    assert "v₁ = w·x" in detail(page)
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    s = float(nn.sigmoid(Tensor(2.5)).data)
    assert page.inner_text("#count") == "5 / 8"
    assert "σ′(v₂) = y·(1 − y)" in detail(page)
    assert str(s * (1 - s)) in detail(page)
    page.keyboard.press("End")
    for leaf in leaves:
        assert f"{leaf.name} {leaf.grad}" in detail(page)
    boxes = page.evaluate("nodes.map(node => [...node.querySelectorAll('text')].map(t => t.textContent).join(' '))")
    assert any(text.split() == ["x", "scalar", "float64", "1", "grad", "0.140207"] for text in boxes)


def test_keyboard(visit):
    y, _ = neuron()
    page = visit(y)

    def at():
        return page.inner_text("#count")

    for key, count in [("ArrowRight", 2), ("ArrowRight", 3), ("ArrowLeft", 2), ("End", 8), ("ArrowRight", 8),
                       ("PageUp", 1), ("PageDown", 8), ("Home", 1), ("ArrowLeft", 1)]:  # fmt: skip
        page.keyboard.press(key)
        assert at() == f"{count} / 8"
    page.focus("#slider")
    page.keyboard.press("ArrowRight")
    assert at() == "2 / 8"
    reached = set()
    for _ in range(14):  # everything that can be used is reached by Tab
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.dataset.i || ''"))
    assert {"first", "back", "play", "next", "last", "digits", "in", "out", "fit", "detail"} <= reached
    in_graph = {each for each in reached if each.isdigit()}
    assert len(in_graph) == 1
    page.focus(f"[data-i='{in_graph.pop()}']")
    for _ in range(10):
        page.keyboard.press("ArrowUp")
    for number in range(6):  # every box by the arrow keys, with its value
        assert page.evaluate("document.activeElement.dataset.i") == str(number)
        assert page.inner_text("#tip")
        assert page.get_attribute(f"[data-i='{number}']", "aria-label")
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")  # on the result
    assert at() == "3 / 8"
    page.click("#next")
    page.click("#next")
    assert at() == "5 / 8"


def test_screen_reader(visit):
    y, _ = neuron()
    page = visit(y)
    live = page.locator("[aria-live=polite]")
    assert "Step 1 of 8. Forward: v₁ = w·x." in live.inner_text()
    page.keyboard.press("End")
    page.keyboard.press("ArrowLeft")
    words = live.inner_text()
    assert "Step 7 of 8. Backward through v₁ = w·x. Arrives: 0.0701037." in words
    assert "To x: local derivative w is 2, sent 0.140207. The sum at x: 0.140207." in words
    assert page.get_attribute("#slider", "aria-valuetext") == "step 7 of 8, backward pass"
    unnamed = page.evaluate(
        "[...document.querySelectorAll('button, input, [role=button]')].filter(e => !(e.innerText || '').trim()"
        " && !e.getAttribute('aria-label') && !e.labels?.length).length"
    )
    assert unnamed == 0


def test_pointing(visit):
    y, _ = neuron()
    page = visit(y)
    page.locator("#graph [data-i]").filter(has_text="v₁ = w").first.hover()
    assert "value: 2.0" in page.inner_text("#tip")
    page.locator("#graph [data-i]").filter(has_text="y = σ").first.click()
    assert page.inner_text("#count") == "3 / 8"


def contrast(page, selector):
    """Of text to what it stands on, by WCAG."""
    ink, paper = page.evaluate(
        """selector => { const e = document.querySelector(selector), css = getComputedStyle(e);
        let at = e; const svg = e.closest('[data-i]');
        if (svg) return [css.fill, getComputedStyle(svg.querySelector('rect')).fill];
        while (getComputedStyle(at).backgroundColor === 'rgba(0, 0, 0, 0)') at = at.parentElement;
        return [css.color, getComputedStyle(at).backgroundColor]; }""",
        selector,
    )

    def luminance(colour):
        channels = [int(n) / 255 for n in re.findall(r"\d+", colour)[:3]]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return np.dot(linear, [0.2126, 0.7152, 0.0722])

    low, high = sorted([luminance(ink), luminance(paper)])
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [5, 60, 2000])
def test_sizes_and_colours(visit, size, scheme):
    if size == 5:
        y, _ = neuron()
    elif size == 60:
        y, _ = network()
    else:
        y, u = Tensor(0.3, name="h"), Tensor(0.7, name="u")
        for _ in range(500):
            y = np.sin(y) * u + np.cos(y)
    page = visit(y, scheme)
    last = int(page.get_attribute("#slider", "max"))
    assert last > size / 2
    for name, step in (("start", 0), ("forward", last // 3), ("backward", 3 * last // 4), ("end", last)):
        page.fill("#slider", str(step))
        assert page.inner_text("#count") == f"{step + 1} / {last + 1}"
        current = page.locator("#graph .now .cr-box")
        if name != "end":  # what the step is about is in view
            box, pane = current.bounding_box(), page.locator("#graph").bounding_box()
            assert pane["x"] <= box["x"] + box["width"] / 2 <= pane["x"] + pane["width"]
            assert pane["y"] <= box["y"] + box["height"] / 2 <= pane["y"] + pane["height"]
            assert box["height"] > 30  # of four lines of text
        picture(page, f"{size}-{scheme}-{name}")
    page.fill("#slider", str(3 * last // 4))
    for selector in (
        "h1",
        "td",
        "th",
        "#say",
        "footer p",
        "button",
        ".cr-op .cr-name",
        ".cr-leaf .cr-line",
        ".now .cr-line",
    ):
        assert contrast(page, selector) >= 4.5, selector


def test_a_narrow_window(visit):
    y, _ = neuron()
    page = visit(y, width=420)
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    picture(page, "narrow")


# -- frames that fold ------------------------------------------------------------------------------------------------
PLACES = """() => {
    const shown = [...document.querySelectorAll('.cr-graph g')].filter(g => !g.classList.contains('cr-hidden'));
    const lines = [...document.querySelectorAll('.cr-edge:not(.cr-hidden)')].map(e => e.getAttribute('d'));
    const place = g => { const r = g.querySelector('rect').getBBox(), m = g.transform.baseVal.consolidate()?.matrix;
        return [r.x + (m ? m.e : 0), r.y + (m ? m.f : 0), r.width, r.height]; };
    return [shown.map(place), lines.map(line => line.match(/-?[0-9.]+/g).map(Number))]; }"""


def deep(blocks):
    class Block(nn.Module):
        def __init__(self, rng):
            self.first, self.second = nn.Linear(4, 4, rng=rng), nn.Linear(4, 4, rng=rng)

        def forward(self, x):
            return x + self.second(np.tanh(self.first(x)))

    net = nn.Sequential(*(Block(i) for i in range(blocks)), nn.Linear(4, 2, rng=0))
    return nn.cross_entropy(net(np.random.default_rng(0).normal(size=(5, 4))), np.arange(5) % 2)


def test_folding_in_the_picture(browser, tmp_path):
    """By mouse and by key; unfolded again, everything is where draw() had put it."""
    cr.draw(deep(12), tmp_path / "deep.svg")
    page = browser.new_page(viewport={"width": 1100, "height": 1200})
    said = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto((tmp_path / "deep.svg").as_uri())
    boxes, lines = page.evaluate(PLACES)
    block = page.locator("[data-frame][aria-label^='layers.0: Block']")
    assert block.get_attribute("aria-expanded") == "true"
    block.locator(".cr-title").click()
    assert block.get_attribute("aria-expanded") == "false"
    assert block.get_attribute("aria-label") == "layers.0: Block, Block · 8 operations, 40 parameters"
    assert page.locator("text.cr-name:visible", has_text="layers.0").all_text_contents() == ["▸ layers.0"]
    fewer = page.evaluate(PLACES)
    assert len(fewer[0]) < len(boxes) - 10
    picture(page, "folded")
    page.keyboard.press("Tab")
    block.focus()
    page.keyboard.press("Enter")
    assert block.get_attribute("aria-expanded") == "true"
    again = page.evaluate(PLACES)
    np.testing.assert_allclose(again[0], boxes, atol=0.11)
    for before, after in zip(lines, again[1], strict=True):
        np.testing.assert_allclose(after, before, atol=0.11)
    repeat = page.locator("[data-frame][aria-label^='… ×10']")
    repeat.click()
    assert page.locator("[data-frame][aria-label^='layers.5: Block']").is_visible()
    inside = page.evaluate(PLACES)[0]
    assert len(inside) == len(boxes) + 10  # ten blocks, each closed, and the frame around them
    for name in ("layers.5: Block", "layers.5.first: Linear"):
        page.locator(f"[data-frame][aria-label^='{name}']").click()
    assert page.locator("text.cr-name:visible", has_text="layers.5.first.weight").is_visible()
    picture(page, "unfolded")
    page.close()
    assert said == []


def test_folding_while_stepping(visit):
    """A step inside a closed frame is shown at the frame, and its numbers stay."""
    y = deep(2)
    page = visit(y)
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    numbers = detail(page).partition("Step")[0]
    frame = page.locator("[data-frame][aria-label^='layers.0: Block']")
    frame.locator(".cr-title").click()
    assert "now" in frame.get_attribute("class")
    assert detail(page).partition("Step")[0] == numbers
    assert "Folded: layers.0: Block" in page.inner_text("[aria-live=polite]")
    frame.focus()
    page.keyboard.press("Enter")
    assert page.locator("#graph .now").get_attribute("data-i") is not None
    assert "Unfolded: layers.0: Block" in page.inner_text("[aria-live=polite]")
    last = int(page.get_attribute("#slider", "max"))
    unfolded = []
    for step in range(last + 1):
        page.fill("#slider", str(step))
        unfolded.append(page.inner_text("#step"))
    page.click("#fold")
    assert page.inner_text("#fold") == "unfold all"
    assert page.locator("[data-frame]:not(.cr-hidden)").count() == 1
    picture(page, "folded-page")
    for step in range(last + 1):
        page.fill("#slider", str(step))
        assert page.inner_text("#step") == unfolded[step]
    reached = []
    page.fill("#slider", "0")
    page.focus("#graph .now")
    for _ in range(8):
        reached.append(page.evaluate("document.activeElement.getAttribute('aria-label')"))
        page.keyboard.press("ArrowDown")
    assert reached[0].startswith("Sequential")
    assert len(set(reached)) == 5  # the network, and four operations behind it
    page.click("#fold")
    assert page.inner_text("#fold") == "fold all"
