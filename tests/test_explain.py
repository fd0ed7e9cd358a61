"""Explanations: the course's equations, names, folding, and numbers that are the engine's."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_expressions import LINEAR, PRODUCTS, REDUCTIONS

import chainrule as cr
from chainrule import Tensor, nn
from chainrule.errors import FreedGraphError, OutputError


def lines(explanation, i=0):
    """The equation of one derivative, as its lines without the alignment."""
    block = str(explanation).split("\n\n")[i]
    return [" ".join(line.split()) for line in block.splitlines()]


def network():
    rng = np.random.default_rng(0)
    return [Tensor(rng.normal(size=shape)) for shape in ((3, 4), (5, 3), (5, 1), (2, 5), (2, 1))]


# -- the course --------------------------------------------------------------------------------------------------
FULL = "σ′(W₂·σ(W₁·X + b₁) + b₂)"
INNER = "σ′(W₁·X + b₁)"
COURSE = {  # equations 1 to 6, and the same for X and the biases: "the exact same process could be done"
    "W2": ["∂y/∂W₂ = ∂a₂/∂z₂ · ∂z₂/∂W₂", "= σ′(z₂) · a₁ᵀ", f"= {FULL} · σ(W₁·X + b₁)ᵀ"],
    "W1": [
        "∂y/∂W₁ = ∂a₂/∂z₂ · ∂z₂/∂a₁ · ∂a₁/∂z₁ · ∂z₁/∂W₁",
        "= σ′(z₂) · W₂ᵀ · σ′(z₁) · Xᵀ",
        f"= {FULL} · W₂ᵀ · {INNER} · Xᵀ",
    ],
    "X": [
        "∂y/∂X = ∂a₂/∂z₂ · ∂z₂/∂a₁ · ∂a₁/∂z₁ · ∂z₁/∂X",
        "= σ′(z₂) · W₂ᵀ · σ′(z₁) · W₁ᵀ",
        f"= {FULL} · W₂ᵀ · {INNER} · W₁ᵀ",
    ],
    "b2": ["∂y/∂b₂ = ∂a₂/∂z₂ · ∂z₂/∂b₂", "= σ′(z₂) · 1", f"= {FULL} · 1"],
    "b1": [
        "∂y/∂b₁ = ∂a₂/∂z₂ · ∂z₂/∂a₁ · ∂a₁/∂z₁ · ∂z₁/∂b₁",
        "= σ′(z₂) · W₂ᵀ · σ′(z₁) · 1",
        f"= {FULL} · W₂ᵀ · {INNER} · 1",
    ],
}


@pytest.mark.parametrize("wrt", COURSE)
def test_equations_of_the_course(wrt):
    X, W1, b1, W2, b2 = network()
    z1 = W1 @ X + b1
    a1 = nn.sigmoid(z1)
    z2 = W2 @ a1 + b2
    a2 = nn.sigmoid(z2)
    y = a2
    target = {"X": X, "W1": W1, "b1": b1, "W2": W2, "b2": b2}[wrt]
    explanation = cr.explain(y, target)
    assert lines(explanation)[:3] == COURSE[wrt]
    y.backward()
    np.testing.assert_array_equal(explanation.derivatives[0].value, target.grad)


def test_equations_of_the_course_in_latex():
    X, W1, b1, W2, b2 = network()
    z1 = W1 @ X + b1
    a1 = nn.sigmoid(z1)
    z2 = W2 @ a1 + b2
    a2 = nn.sigmoid(z2)
    y = a2
    found = cr.explain(y, W1).latex.splitlines()
    assert found[1] == (
        r"\frac{\partial y}{\partial W_{1}} &= \frac{\partial a_{2}}{\partial z_{2}} \cdot "
        r"\frac{\partial z_{2}}{\partial a_{1}} \cdot \frac{\partial a_{1}}{\partial z_{1}} \cdot "
        r"\frac{\partial z_{1}}{\partial W_{1}} \\"
    )
    assert found[2].strip() == (
        r"&= \sigma'\left(z_{2}\right) \cdot W_{2}^{\top} \cdot \sigma'\left(z_{1}\right) \cdot X^{\top} \\"
    )


def test_course_by_its_own_factors():
    """The factors that are shown, multiplied by hand, give the gradient."""
    X, W1, b1, W2, b2 = network()
    y = nn.sigmoid(W2 @ nn.sigmoid(W1 @ X + b1) + b2)
    (derivative,) = cr.explain(y, W1).derivatives
    product = np.ones(y.shape)
    for factor in derivative.paths[0].factors:
        product = {"elementwise": np.multiply, "right": np.matmul, "left": lambda p, v: v @ p}[factor.acts](
            product, factor.value
        )
        np.testing.assert_allclose(product, factor.product, rtol=1e-12)
    y.backward()
    np.testing.assert_allclose(product, W1.grad, rtol=1e-12)


# -- numbers -------------------------------------------------------------------------------------------------------
UNARY = [np.sin, np.exp, np.tanh, np.square, np.negative, lambda v: nn.sigmoid(v) * v, lambda v: 2 / (1 + v * v)]
BINARY = [
    np.add,
    np.subtract,
    np.multiply,
    np.maximum,
    lambda a, b: a / (2 + b * b),
    lambda a, b: a * b[..., None].sum(),
]
STEPS = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 99), st.integers(0, 99)), min_size=1, max_size=12)


def grown(steps, values):
    """An expression: every step applies a function to what there is already."""
    for which, i, j in steps:
        a, b = values[-1 - i % len(values)], values[-1 - j % len(values)]
        v = UNARY[which](a) if which < len(UNARY) else BINARY[which - len(UNARY)](a, b)
        values.append(np.tanh(v))
    return values[-1]


@settings(max_examples=150, deadline=None)
@given(steps=STEPS, shape=st.sampled_from([(), (3,), (2, 3)]))
def test_numbers_are_the_engines(steps, shape):
    leaves = [Tensor(np.linspace(0.3, 0.9, math.prod(shape)).reshape(shape), name="p"), Tensor(0.7, name="q")]
    y = grown(steps, list(leaves))
    y.backward(retain_graph=True)
    for x in leaves:
        if x.grad is None:
            with pytest.raises(OutputError, match="does not depend on"):
                cr.explain(y, x)
            continue
        explanation = cr.explain(y, x)
        (derivative,) = explanation.derivatives
        np.testing.assert_array_equal(derivative.value, x.grad)
        if sum(path.times for path in derivative.paths) == derivative.count:
            total = sum(path.value for path in derivative.paths)
            np.testing.assert_allclose(total, x.grad, rtol=1e-9, atol=1e-12)
        for path in derivative.paths:
            factors = path.factors
            if len(factors) == len(path.parts) and path.times == 1 and all(f.acts == "number" for f in factors):
                product = math.prod(float(f.value) for f in factors)
                np.testing.assert_allclose(product, path.value, rtol=1e-9, atol=1e-12)
        check_inner_sums(derivative)
        assert str(explanation)
        assert explanation.latex.count("{") == explanation.latex.count("}")
        assert explanation.html.startswith('<div class="cr-explain">')


def check_inner_sums(derivative):
    """What several paths between two stages contribute is what the next factor starts from."""
    for path in derivative.paths:
        for factor in path.factors:
            if factor.count > 1 and sum(p.times for p in factor.paths) == factor.count:
                total = sum(p.value for p in factor.paths)
                np.testing.assert_allclose(total, factor.product, rtol=1e-9, atol=1e-12)


def test_numbers_of_programs_that_write():
    x = Tensor(np.array([1.0, 2.0, 3.0]))
    v = x * 2
    v[0] = v[1] * x[2]
    v[1:] *= x[0]
    y = np.sum(v * v)
    (derivative,) = cr.explain(y, x).derivatives
    y.backward()
    np.testing.assert_array_equal(derivative.value, x.grad)
    np.testing.assert_allclose(derivative.paths[0].factors[-1].product, x.grad)


def test_complex_factors_are_conjugated():
    z = Tensor(np.array([1.0 + 2.0j]))
    W = Tensor(np.array([[0.5 - 1.0j]]))
    y = np.sum(np.abs(W @ z * 3) ** 2)
    explanation = cr.explain(y, [z, W])
    y.backward()
    np.testing.assert_allclose(explanation.derivatives[0].value, z.grad)
    np.testing.assert_allclose(explanation.derivatives[1].value, W.grad)
    for derivative in explanation.derivatives:
        np.testing.assert_allclose(derivative.paths[0].factors[-1].product, derivative.value)
    assert "Wᴴ" in str(explanation)


def test_zero_wins_here_too():
    x = Tensor(np.array([0.0, 4.0]))
    y = np.sum(np.where(x.data > 0, 1.0, 0.0) * np.sqrt(x))
    (derivative,) = cr.explain(y, x).derivatives
    assert derivative.value.tolist() == [0.0, 0.25]
    assert derivative.paths[0].factors[-1].product.tolist() == [0.0, 0.25]


# -- several paths -------------------------------------------------------------------------------------------------
def test_paths_are_added_and_it_says_so():
    x, w = Tensor(3.0), Tensor(2.0)
    f = x * w + np.sin(x)
    explanation = cr.explain(f, x)
    assert lines(explanation) == [
        "df/dx = ∂f/∂v₁ · ∂v₁/∂x",
        "+ ∂f/∂v₂ · ∂v₂/∂x",
        "(2 paths, whose products are added)",
        "= 1 · w",
        "+ 1 · cos(x)",
        "= 1 · 2",
        "+ 1 · (-0.989992)",
        "= 2",
        "+ (-0.989992)",
        "= 1.01001",
    ]


def test_what_paths_share_is_factored_out():
    x = Tensor(np.array([1.0, 2.0, 3.0]))
    y = np.sum((x - np.mean(x)) ** 2)
    explanation = cr.explain(y, x)
    text = str(explanation)
    assert "there are 2 paths from y to x; what they share is factored out" in text
    assert lines(explanation, 1)[:3] == [
        "dv₂/dx = ∂v₂/∂x",
        "+ ∂v₂/∂v₁ · ∂v₁/∂x",
        "(2 paths, whose products are added)",
    ]
    np.testing.assert_allclose(explanation.derivatives[0].value, [-2.0, 0.0, 2.0])


def test_constants_are_put_in():
    x = Tensor(2.0)
    y = x**3 / 3 + 2 * x
    assert lines(cr.explain(y, x))[3:5] == ["= 1 · 2", "+ 1 · 1/3 · 3·x²"]


def test_an_exponential_number_of_paths():
    x = y = Tensor(0.1)
    for _ in range(100):
        y = np.sin(y) + 0.1 * y * y
    text = str(cr.explain(y, x))
    assert "more than 1,000,000,000,000 paths" in text
    assert "×100" in text
    assert len(text) < 5_000


def test_interleaved_paths_of_one_length():
    a = x = Tensor(0.5)
    b = x * 2
    for _ in range(3_000):
        a, b = np.sin(b), np.tanh(a) + np.cos(b)
    text = str(cr.explain(a + b, x))
    assert "more paths" in text


# -- names ---------------------------------------------------------------------------------------------------------
def test_names():
    W = Tensor([[1.0, 2.0], [3.0, 4.0]], name="weights")
    layer = {"bias": Tensor([0.5, 0.5])}
    data = np.ones(2)
    hidden = W @ data + layer["bias"]
    gamma = 2.0 * hidden
    loss = np.sum(gamma**2)
    text = str(cr.explain(loss, [W, layer["bias"]]))
    assert "∂loss/∂weights" in text
    assert "∂loss/∂layer['bias']" in text
    assert "∂γ/∂hidden" in text
    assert "weights·data + layer['bias']" in text
    assert cr.explain(loss, W).latex.count(r"\gamma") > 0


class Net:
    def __init__(self):
        self.W1 = Tensor([[1.0, 2.0]])

    def explained(self, x):
        y = self.W1 @ x
        return str(cr.explain(y, self.W1))


def test_names_of_attributes():
    assert "∂y/∂W₁" in Net().explained(np.ones(2))


def test_names_of_modules():
    net = nn.Sequential(*[layer for i in range(6) for layer in (nn.Linear(4, 4, rng=i), nn.Tanh())])
    loss = np.mean(net(np.ones((8, 4))) ** 2)
    text = str(cr.explain(loss, net.parameters()[0]))
    assert "∂loss/∂layers.0.weight" in text
    assert "×5" in text or "×6" in text  # the layers


def test_two_quantities_of_one_name():
    a, b = Tensor(2.0, name="w"), Tensor(3.0, name="w")
    assert "∂y/∂w(2)" in str(cr.explain(a * b, b))


def test_of_several_names_the_result_has_the_one_without_a_number():
    x = Tensor(2.0)
    y = y9 = x * 3
    assert lines(cr.explain(y, x))[0] == "∂y/∂x = ∂y₉/∂x"
    del y9
    assert lines(cr.explain(y, x))[0] == "∂y/∂x = 3"


def test_a_result_on_the_way():
    x = Tensor(2.0)
    v = x * x
    y = np.sin(v)
    assert lines(cr.explain(y, v))[0] == "∂y/∂v = cos(v)"
    assert cr.explain(y, y).derivatives[0].value == 1.0
    assert cr.explain(x, x).derivatives[0].value == 1.0


def test_changed_since():
    w, b = Tensor(2.0), Tensor(1.0)
    y = w * 3.0 + b
    b.val = 100.0
    text = str(cr.explain(y, w))
    assert "was changed since" in text
    assert "7" in text  # y is what it was


# -- folding -------------------------------------------------------------------------------------------------------
def test_a_loop_is_folded():
    x = y = Tensor(0.5)
    for _ in range(100):
        y = 2 * np.sin(y) + 1
    explanation = cr.explain(y, x)
    assert lines(explanation)[1].endswith("… ×100")
    assert "(200 factors are folded into 2, which come 100 times)" in str(explanation)


def test_a_long_product_without_a_pattern():
    rng = np.random.default_rng(0)
    x = y = Tensor(0.5)
    for i in rng.integers(0, 3, 300):
        y = (np.sin, np.cos, np.tanh)[i](y)
    text = str(cr.explain(y, x))
    assert "… 292 more …" in text
    assert "292 factors in the middle are left out" in text


def test_a_wide_graph_is_summarised_by_names():
    rng = np.random.default_rng(0)
    x = Tensor(0.5)
    encoded = x
    for i in rng.integers(0, 3, 300):
        encoded = (np.sin, np.cos, np.tanh)[i](encoded)
    decoded = encoded
    for i in rng.integers(0, 3, 300):
        decoded = (np.sin, np.cos, np.tanh)[i](decoded)
    assert lines(cr.explain(decoded, x))[0] == "∂decoded/∂x = ∂decoded/∂encoded · ∂encoded/∂x"


def test_a_long_sum_does_not_recurse():
    x = y = Tensor(1.0)
    for _ in range(5_000):
        y = y + 1.0
    assert cr.explain(y, x).derivatives[0].value == 1.0


@pytest.mark.parametrize("kind", ["chain", "sum"])
def test_a_million_nodes(kind):
    if kind == "chain":
        x = y = Tensor(0.5)
        for _ in range(500_000):
            y = 2 * np.sin(y)
    else:
        x = y = Tensor(0.5)
        for _ in range(500_000):
            y = np.tanh(y) + x
    text = str(cr.explain(y, x))
    assert "no single factors" in text
    assert ("×500,000" if kind == "chain" else "more paths") in text
    assert len(text) < 10_000


# -- forms ---------------------------------------------------------------------------------------------------------
def test_forms():
    x = Tensor(2.0, name="<x>")
    y = np.sin(x) * x
    explanation = cr.explain(y, x)
    assert explanation._repr_html_() == explanation.html
    assert "&lt;x&gt;" in explanation.html
    assert "<x>" not in explanation.html
    assert explanation._repr_latex_() == f"$$\n{explanation.latex}\n$$"
    assert repr(explanation) == str(explanation)


def test_the_page_shows_what_is_printed(tmp_path, monkeypatch, capsys):
    page = (Path(__file__).parent.parent / "docs" / "howto" / "explain.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "__main__"}
    for code in re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL):
        exec(code, namespace)
    printed = capsys.readouterr().out
    shown = re.findall(r"^```text\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert len(shown) >= 4
    for text in shown:
        assert text.strip() in printed


# -- bad input -----------------------------------------------------------------------------------------------------
def test_errors():
    x, other = Tensor(2.0, name="x"), Tensor(1.0, name="other")
    y = x * x
    with pytest.raises(OutputError, match=r"does not depend on Tensor 'other'.*depends on x"):
        cr.explain(y, other)
    with pytest.raises(OutputError, match="constant"):
        cr.explain(y, np.ones(3))
    with pytest.raises(OutputError, match="no graph"):
        cr.explain(y.detach(), x)
    with pytest.raises(OutputError, match="no graph"):
        cr.explain(3.0, x)
    with pytest.raises(OutputError, match="wrt is empty"):
        cr.explain(y, [])
    y.backward()
    with pytest.raises(FreedGraphError, match=r"explain.*retain_graph=True"):
        cr.explain(y, x)


def test_inside_transforms():
    found = []

    def f(x):
        y = np.sin(x) * x
        found.append(lines(cr.explain(y, x))[0])
        return y

    cr.grad(f)(2.0)
    cr.grad(cr.grad(f))(2.0)
    assert found[0].startswith("dy/dx = ∂y/∂x")
    with pytest.raises(OutputError, match="forward mode"):
        cr.jvp(f, (2.0,), (1.0,))
    with pytest.raises(OutputError, match="no graph"):
        cr.vmap(f)(np.ones(3))


def test_functions_that_are_run_again():
    x = Tensor(2.0)
    y = cr.checkpoint(lambda x: np.sin(x) * x)(x) * 3
    (derivative,) = cr.explain(y, x).derivatives
    np.testing.assert_allclose(derivative.paths[0].factors[-1].product, 3 * (np.sin(2) + 2 * np.cos(2)))


def test_derivatives_of_second_order():
    x = Tensor(2.0)
    y = x**3
    y.backward(create_graph=True)
    slope = x.grad
    explanation = cr.explain(slope, x)
    assert explanation.derivatives[0].value == 12.0
    assert lines(explanation)[-1] == "= 12"


def test_nothing_is_changed():
    x = Tensor(2.0)
    y = np.sin(x) * x
    cr.explain(y, x)
    assert x.grad is None
    y.backward()
    expected = x.grad
    x.grad = None
    y = np.sin(x) * x
    y.backward(retain_graph=True)
    cr.explain(y, x)
    assert x.grad == expected


# -- every kind of rule --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", [*LINEAR, *REDUCTIONS, *PRODUCTS])
def test_any_rule(name):
    """The product of the factors one by one is the gradient, whatever the rule; and it can be written."""
    x = Tensor(np.linspace(-0.9, 1.1, 12).reshape(3, 4), name="x")
    w = Tensor(np.linspace(0.2, 0.8, 12).reshape(4, 3), name="w")
    v = np.tanh(x)
    v = PRODUCTS[name](v, w) if name in PRODUCTS else {**LINEAR, **REDUCTIONS}[name](v)
    y = np.sum(v * v) if v.dtype.kind != "c" else np.sum(np.abs(v) ** 2)
    explanation = cr.explain(y, [x, w] if name in PRODUCTS else x)
    y.backward()
    for derivative, leaf in zip(explanation.derivatives, (x, w), strict=False):
        np.testing.assert_array_equal(derivative.value, leaf.grad)
        if derivative.count == 1:
            np.testing.assert_allclose(derivative.paths[0].factors[-1].product, leaf.grad, rtol=1e-9, atol=1e-12)
        else:
            total = sum(path.value for path in derivative.paths)
            np.testing.assert_allclose(total, leaf.grad, rtol=1e-9, atol=1e-12)
    assert str(explanation)
    assert explanation.latex.count("{") == explanation.latex.count("}")


def test_linear_maps_are_written_as_what_they_do():
    """Of selections, writes and solutions of equations the factor says where the product before it goes."""
    x = Tensor([-1.0, 2.0], name="x")
    text = str(cr.explain(np.sum(np.where(x > 0, x**2, -x)), x))
    assert "(□ where [False, True], else 0) · 2·x" in text
    assert "(□ where not [False, True], else 0) · (-1)" in text

    y = x * 2.0
    y[0] = x[1]
    y[:1] += 3.0
    explanation = cr.explain(np.sum(y), x)
    text = str(explanation)
    assert "y =    v₃ with [:1] = v₄" in text
    assert "v₃ =   v₁ with [0] = v₂" in text
    assert "(□, but 0 at [0]) · 2" in text
    assert "□[0] · □ at [1]" in text
    assert r"v_{1}\text{ with [0] }=v_{2}" in explanation.latex
    assert "Rule" not in text

    A, b = Tensor([[2.0, 1.0], [1.0, 3.0]], name="A"), Tensor([1.0, 2.0], name="b")
    solution = np.linalg.solve(A, b)
    explanation = cr.explain(solution[0], [A, b])
    assert "1 at" not in str(explanation)
    assert "(−A⁻ᵀ·□·solutionᵀ)" in str(explanation)
    assert "□ at [0] · A⁻ᵀ" in str(explanation)
    assert r"(-A^{-\top} \cdot \square \cdot" in explanation.latex
    factor = explanation.derivatives[1].paths[0].factors[-1]
    start = np.array([1.0, 0.0])
    np.testing.assert_allclose(factor.product, np.linalg.inv(A.data).T @ start)
    inverse = cr.explain(np.sum(np.linalg.inv(A)), A)
    assert "(−v₁ᵀ·□·v₁ᵀ)" in str(inverse)

    z = Tensor(1.0 + 2.0j, name="z")
    assert "absolute′(z)" in str(cr.explain(np.abs(z), z))
    assert "complex_" not in str(cr.explain(np.abs(z), z))


def test_short_indices_are_written_down():
    x = Tensor(np.arange(40.0), name="x")
    assert "x[[3, 5]]" in str(cr.explain(np.sum(x[np.array([3, 5])]), x))
    assert "x[int64[20]]" in str(cr.explain(np.sum(x[np.arange(20)]), x))


def test_numbers_of_folded_factors_are_not_one_number():
    y = x = Tensor(0.5, name="x")
    for _ in range(100):
        y = np.sin(y)
    lines = str(cr.explain(y, x)).partition("where")[0].split("\n")
    assert len([line for line in lines if "=" in line]) == 3  # symbols, formulas, and the derivative


def test_latex_of_many_paths_has_a_line_for_each():
    x = Tensor(2.0, name="x")
    latex = cr.explain(x + np.sin(x) + np.cos(x), x).latex
    assert latex.count("\\\\\n &\\quad + ") == 8  # symbols, formulas, numbers, products
    y = x
    for _ in range(1200):
        y = np.sin(y)
    assert r"\ldots \times 1{,}200" in cr.explain(y, x).latex
    assert "×" not in cr.explain(y, x).latex
    scores = Tensor([1.0, 2.0])
    assert r"\operatorname{log~softmax}" in cr.explain(nn.log_softmax(scores)[0], scores).latex
