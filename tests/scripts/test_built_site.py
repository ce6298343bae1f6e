"""The checks of a built site: links, and the search of pages that are files."""

import json

from scripts import built_site


def test_a_link_that_leads_nowhere_is_found(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "picture.svg").write_text("<svg/>")
    (tmp_path / "b.html").write_text('<h1 id="here">b</h1><a href="#here">1</a><a href="#gone">2</a>')
    (tmp_path / "a/c.html").write_text(
        '<img src="../picture.svg"><img src="picture.svg"><a href="../b.html#here">1</a><a href="../b.html#gone">2</a>'
        '<a href="../none.html">3</a><a href="https://example.com/">4</a><a href="/b.html">5</a><a href="/none">6</a>'
    )
    assert list(built_site.dead_links(tmp_path)) == [
        ("a/c.html", "picture.svg"),
        ("a/c.html", "../b.html#gone"),
        ("a/c.html", "../none.html"),
        ("a/c.html", "/none"),
        ("b.html", "#gone"),
    ]


def test_what_a_page_loads_from_another_host_is_found(tmp_path):
    (tmp_path / "a.html").write_text(
        '<link rel="canonical" href="https://example.com/a.html"><link rel="stylesheet" href="//example.com/a.css">'
        '<script src="https://example.com/a.js"></script><img src="data:image/png;base64,AA==">'
        '<a href="https://example.com/">1</a>'
    )
    found = [target for _, target in built_site.dead_links(tmp_path)]
    assert found == ["//example.com/a.css", "https://example.com/a.js"]
    assert all(map(built_site.is_elsewhere, found))


def test_the_line_of_a_link_is_that_of_its_source(tmp_path):
    source = tmp_path / "a.md"
    source.write_text("# A\n\n[b](b.md#c)\n")
    assert built_site.line_of(source, "b.html#c") == 3
    assert built_site.line_of(source, "d.html") == 1


def test_the_search_of_files_holds_the_index_and_the_worker(tmp_path):
    workers = tmp_path / "assets/javascripts/workers"
    workers.mkdir(parents=True)
    (workers / "search.123.min.js").write_text('onmessage = "</script>"')
    (tmp_path / "search.json").write_text(json.dumps({"items": [{"text": "<p>a</p>"}]}))
    built_site.add_search_of_files(tmp_path)
    text = (tmp_path / "search.js").read_text()
    assert 'var __index = {"items": [{"text": "<p>a<\\/p>"}]};' in text
    assert json.dumps('onmessage = "</script>"') in text
