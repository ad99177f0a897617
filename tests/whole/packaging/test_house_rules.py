"""The house test can fail: each of its rules, broken in a made-up product, is found broken."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.house import (
    Package,
    circles,
    doubled_classes,
    escaping,
    forbidden_imports,
    forbidden_names,
    paths_of_ids,
    same_package_and_part,
    tree_of,
    upward_imports,
)
from support.source_tree import SourceTree

# A sound product of two packages: `shop` has floors, `till` stands on it. Every test replaces or adds a file or two.
SOUND = {
    "shop/__init__.py": """
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from shop.desk import Desk
__getattr__ = on_demand(__name__, {"Desk": "shop.desk"})
""",
    "shop/goods/__init__.py": "from shop.goods._base import Goods\nfrom shop.goods.fruit import Fruit",
    "shop/goods/_base.py": "class Goods: ...",
    "shop/goods/fruit.py": "from shop.goods import Goods\nclass Fruit(Goods): ...",
    "shop/prices.py": "import json\nclass Price: ...",
    "shop/desk.py": "import httpx\nfrom shop.goods import Fruit\nfrom . import prices\nclass Desk: ...",
    "till/__init__.py": "",
    "till/main.py": "from shop import Desk\nclass Till:\n    class Desk: ...",
}
FLOORS = [{"goods", "prices"}, {"desk"}]

Build = Callable[..., SourceTree]


@pytest.fixture
def shop(tmp_path: Path) -> Package:
    return Package(tmp_path / "shop", others_in={"desk": frozenset({"httpx"})})


@pytest.fixture
def till(tmp_path: Path) -> Package:
    return Package(tmp_path / "till", ours=frozenset({"shop"}))


@pytest.fixture
def build(tmp_path: Path, shop: Package, till: Package) -> Build:
    def build(**changed: str) -> SourceTree:
        """The sound product, but for these modules: `prices` is shop/prices.py."""
        for name, text in (SOUND | {f"shop/{module}.py": text for module, text in changed.items()}).items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tree_of([shop, till], tmp_path)

    return build


def test_a_sound_product_breaks_no_rule(build, shop, till):
    tree = build()
    assert len(tree.sources) == len(SOUND)
    for package in (shop, till):
        assert list(forbidden_imports(tree, package)) == []
        assert list(forbidden_names(tree, package)) == []
    assert list(upward_imports(tree, shop, FLOORS)) == []
    assert circles(tree) == circles(tree, same_package_and_part) == []
    assert doubled_classes(tree) == {}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("import till.main", "shop/prices.py:1 imports till.main"),
        ("def pay():\n    from till.main import Till", "shop/prices.py:2 imports till.main.Till"),
        ("import json\nimport httpx", "shop/prices.py:2 imports httpx"),
        ("importlib.import_module('till.main')", "shop/prices.py:1 imports till.main"),
        ("try:\n    import torch\nexcept ImportError:\n    torch = None", "shop/prices.py:2 imports torch"),
        ("if TYPE_CHECKING:\n    import till\nelse:\n    import torch", "shop/prices.py:4 imports torch"),
    ],
    ids=["package", "in-function", "in-another-part", "by-string", "tried", "else-of-types"],
)
def test_an_import_that_a_package_may_not_make_is_found(build, shop, text, told):
    assert list(forbidden_imports(build(prices=text), shop)) == [told]


@pytest.mark.parametrize("name", ["till", "till.main", "till.main:Till"])
def test_a_string_that_names_a_forbidden_module_is_found(build, shop, name):
    tree = build(prices=f'HOME = "{name}"\nHINT = "start till.main, please"')
    assert list(forbidden_names(tree, shop)) == [f"shop/prices.py:1 names {name}"]


@pytest.mark.parametrize(
    "text",
    ["from shop.desk import Desk", "from shop import Desk", "from . import Desk", "def f():\n    import shop.desk"],
    ids=["plain", "by-the-face", "relative", "in-function"],
)
def test_an_import_that_points_up_is_found(build, shop, text):
    (told,) = upward_imports(build(prices=text), shop, FLOORS)
    assert told == f"shop/prices.py:{len(text.splitlines())} imports shop.desk, a floor above"


@pytest.mark.parametrize("text", ["import shop.desk", "from shop import Desk"])
def test_a_circle_of_files_is_found(build, text):
    (circle,) = circles(build(prices=text))
    assert circle == ["shop/desk.py:3 imports shop.prices", "shop/prices.py:1 imports shop.desk"]


def test_a_circle_that_an_import_in_a_function_hides_is_found(build):
    (circle,) = circles(build(prices="def pay():\n    from shop.desk import Desk"))
    assert circle == ["shop/desk.py:3 imports shop.prices", "shop/prices.py:2 imports shop.desk, inside a function"]


@pytest.mark.parametrize(
    "homes", ['_HOMES = {"Desk": "shop.desk"}', "if TYPE_CHECKING:\n    from shop.desk import Desk"]
)
def test_a_circle_that_names_on_demand_hide_is_found(build, homes):
    face = f"{homes}\ndef __getattr__(name): ..."
    (circle,) = circles(build(__init__=face, desk="import shop"))
    assert {line.split()[0].partition(":")[0] for line in circle} == {"shop/__init__.py", "shop/desk.py"}


def test_a_circle_of_parts_is_found_though_no_two_files_need_each_other(build):
    tree = build(prices="from shop.goods import Goods", **{"goods/list": "import shop.prices"})
    assert circles(tree) == []
    assert circles(tree, same_package_and_part) == [
        ["shop/goods/list.py:1 imports shop.prices", "shop/prices.py:1 imports shop.goods._base"]
    ]


def test_an_import_for_the_type_checker_alone_makes_no_circle(build):
    assert circles(build(prices="if TYPE_CHECKING:\n    from shop.desk import Desk")) == []


@pytest.mark.parametrize("text", ["class Desk: ...", "try:\n    class Desk: ...\nfinally:\n    pass"])
def test_a_class_name_that_stands_twice_is_found(build, text):
    assert doubled_classes(build(counter=text)) == {"Desk": ["shop/counter.py", "shop/desk.py"]}


@pytest.mark.parametrize(
    "line",
    [
        "page = folder / job.id",
        "page = folder / job_id",
        "page = folder / f'{job.id}.html'",
        "page = folder / (job_id + '.html')",
        "page = folder / row['id']",
        "page = folder / str(file.filename)",
        "page = folder / quote(job.id)",
        "page = Path(folder, f'{version.name}.html')",
        "page = Path(f'/reports/{job_id}')",
        "page = folder.joinpath(job_id)",
        "page = folder.with_name(model_id)",
    ],
)
def test_a_path_of_an_id_is_found(line, build, shop):
    found = list(paths_of_ids(build(prices=line), shop, safe="file_name"))
    assert len(found) == 1
    assert found[0].startswith("shop/prices.py:1 joins")


@pytest.mark.parametrize(
    "line",
    [
        "page = folder / file_name(job.id, '.html')",
        "page = folder / 'jobs.html'",
        "half = total / 2",
        "Path(given['path'])",
    ],
)
def test_a_path_of_anything_else_is_in_order(line, build, shop):
    assert list(paths_of_ids(build(prices=line), shop, safe="file_name")) == []


def test_a_second_place_that_escapes_text_is_found(build):
    tree = build(prices="from html import escape\nfrom urllib.parse import quote, urlsplit")
    assert list(escaping(tree, "shop.desk")) == [
        "shop/prices.py:1 imports html.escape",
        "shop/prices.py:2 imports urllib.parse.quote",
    ]
    assert list(escaping(tree, "shop.prices")) == []
