"""The widget of notebooks: its drawings, and its page in a browser with a model like that of Jupyter."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

import eoren
from eoren.errors import EorenError
from eoren.viewer import notebook
from eoren.visualization.derivatives import magnitude_image

pytest.importorskip("anywidget", reason="pip install '.[notebook]'")

WIDGET = "application/vnd.jupyter.widget-view+json"
ADDRESS = "http://notebook.test/"
# A model as Jupyter gives to widgets: the state of the kernel, events, and messages, which Python answers.
START = """async ([state, overview]) => {
  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const handlers = {};
  const emit = globalThis.emit = (name, ...values) => (handlers[name] ?? []).forEach((handler) => handler(...values));
  Object.assign(state, { overview: new DataView(bytes(overview).buffer) });
  globalThis.sent = [];
  globalThis.answered = 0;
  globalThis.model = {
    get: (name) => state[name],
    set: (name, value) => { state[name] = value; emit(`change:${name}`); },
    save_changes: () => {},
    on: (name, handler) => (handlers[name] ??= []).push(handler),
    off: () => {},
    send: async (message) => {
      sent.push(message);
      const [box, png] = await answer(message);
      if (!png) return;
      emit("msg:custom", { id: message.id, layer: message.layer, box }, [new DataView(bytes(png).buffer)]);
      answered += 1;
    },
  };
  const { default: widget } = await import("/widget.js");
  widget.render({ model, el: document.body });
}"""


@pytest.fixture
def widget(field, image):
    return eoren.show(field, image)


@pytest.fixture
def page(browser, widget):
    """The widget in a page of 480 x 320 CSS pixels for its image; ``page.kernel`` answers its messages."""
    page = browser.new_page(viewport={"width": 496, "height": 500})
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    html = f"<!DOCTYPE html><style>{widget._css}</style><body style='margin:8px'></body>"
    files = {"": ("text/html", html), "widget.js": ("text/javascript", widget._esm)}

    def serve(route):
        kind, body = files[route.request.url.removeprefix(ADDRESS)]
        route.fulfill(content_type=kind, body=body)

    page.kernel = True

    def answer(message):
        box, png = widget.draw(message) if page.kernel else ([], b"")
        return [box, base64.b64encode(png).decode()]

    page.route(f"{ADDRESS}*", serve)
    page.expose_function("answer", answer)
    page.goto(ADDRESS)
    state = {"size": widget.size, "layers": widget.layers, "layer": "color"}
    page.begin = lambda: page.evaluate(START, [state, base64.b64encode(widget.overview).decode()])
    yield page
    page.close()
    assert errors == []


def settle(page):
    """Wait until the newest request is answered and no other follows."""
    script = "() => globalThis.answered === globalThis.sent.length && globalThis.answered"
    page.wait_for_function(script)
    while True:
        before = page.evaluate(script)
        page.wait_for_timeout(250)
        if page.evaluate(script) == before and before is not False:
            return


def pixels(page):
    png = page.evaluate("document.querySelector('canvas').toDataURL()").split(",")[1]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")).astype(float)


def newest(page):
    return page.evaluate("sent.at(-1)")


def expected(field, request, show="color"):
    (columns, rows), region = request["size"], tuple(map(float, request["box"]))
    if show == "color":
        return field.render_image(columns, rows, region=region).astype(float)
    gradient = field.render(columns, rows, region=region, show="gradient") / np.array(field.size)
    return 255 * magnitude_image(gradient).clip(0, 1).repeat(3, 2)


def test_drawings_are_the_field_at_the_pixels_of_the_request(field, widget):
    box, png = widget.draw({"layer": "color", "box": [0.25, 0.5, 0.5, 0.75], "size": [60, 40]})
    drawn = np.asarray(Image.open(io.BytesIO(png))).astype(float)
    assert box == [0.25, 0.5, 0.5, 0.75]
    assert abs(drawn - field.render_image(60, 40, region=tuple(box))).max() <= 1


def test_drawings_are_bounded_and_their_part_contains_the_request(widget, monkeypatch):
    monkeypatch.setattr("eoren.viewer.widget.MAX_AREA", 1 << 12)
    box, png = widget.draw({"layer": "laplacian", "box": [0.9999, -2, 7, 0.3001], "size": [10**6, 10**6]})
    with Image.open(io.BytesIO(png)) as image:
        assert 3 << 10 < image.width * image.height <= 1 << 12
    assert 0.99 < box[0] <= 0.9999
    assert box[1] == 0
    assert box[2] == 1
    assert 0.3001 <= box[3] < 0.31


def test_layers_are_those_of_the_viewer(field, widget, image):
    names = ["color", "gradient", "direction", "laplacian"]
    assert [layer["name"] for layer in eoren.show(field).layers] == names
    assert [layer["name"] for layer in widget.layers] == [*names, "original", "spline", "difference"]
    with pytest.raises(EorenError, match="30"):
        eoren.show(field, image[:-1])


def test_programs_without_widgets_get_an_image(field, widget):
    data, _ = widget._repr_mimebundle_()
    assert data[WIDGET]["model_id"] == widget.model_id
    assert data["image/png"] == field._repr_png_()
    assert len(data["text/plain"]) < 200


def test_without_anywidget_the_remedy_is_named(field, monkeypatch):
    monkeypatch.setattr(notebook, "find_spec", lambda name: None)
    with pytest.raises(EorenError, match=r"pip install 'eoren\[notebook\]'"):
        eoren.show(field)


def test_the_whole_image_and_a_zoom_show_the_field(page, field):
    page.begin()
    settle(page)
    request = newest(page)
    assert request["box"] == [0, 0, 1, 1]
    assert request["size"] == [480, 320]
    assert abs(pixels(page) - expected(field, request)).max() <= 2
    page.locator("canvas").press("+")
    settle(page)
    request = newest(page)
    np.testing.assert_allclose(request["box"], [0.25, 0.25, 0.75, 0.75])
    assert abs(pixels(page) - expected(field, request)).max() <= 2
    page.locator("canvas").press("0")
    settle(page)
    assert newest(page)["box"] == [0, 0, 1, 1]


def test_keys_and_the_list_choose_layers(page, field):
    page.begin()
    settle(page)
    page.locator("canvas").press("2")
    settle(page)
    assert page.locator("select").input_value() == "gradient"
    assert "half the intensity range" in page.locator("p").text_content()
    assert abs(pixels(page) - expected(field, newest(page), "gradient")).mean() < 2
    page.locator("select").select_option("color")
    settle(page)
    assert abs(pixels(page) - expected(field, {"box": [0, 0, 1, 1], "size": [480, 320]})).max() <= 2


def test_dragging_pans_and_stays_on_the_image(page, field):
    page.begin()
    page.locator("canvas").dblclick(position={"x": 240, "y": 160})
    settle(page)
    box = page.locator("canvas").bounding_box()
    page.mouse.move(box["x"] + 240, box["y"] + 160)
    page.mouse.down()
    page.mouse.move(box["x"] + 216, box["y"] + 160)
    page.mouse.up()
    settle(page)
    np.testing.assert_allclose(newest(page)["box"], [0.275, 0.25, 0.775, 0.75])
    assert abs(pixels(page) - expected(field, newest(page))).max() <= 3
    for _ in range(9):
        page.locator("canvas").press("ArrowRight")
    settle(page)
    np.testing.assert_allclose(newest(page)["box"], [0.5, 0.25, 1, 0.75])


def test_views_of_one_widget_do_not_take_each_other_s_drawings(page):
    page.begin()
    settle(page)
    page.evaluate("() => { model.send = (message) => { sent.push(message); }; }")
    page.locator("canvas").press("+")
    page.wait_for_function("() => !sent.at(-1).box.every(Number.isInteger)")
    number = newest(page)["id"]
    page.evaluate("globalThis.before = document.querySelector('canvas').toDataURL()")
    # Numbers of the second view begin elsewhere.
    page.begin()
    settle(page)
    assert newest(page)["id"] > 1000
    assert abs(newest(page)["id"] - number) > 100


def test_a_drawing_that_failed_is_requested_again(page, field):
    page.begin()
    settle(page)
    page.evaluate("""() => {
      const send = model.send;
      model.send = (message) => {
        sent.push(message);
        model.send = send;
        emit("msg:custom", { id: message.id, layer: message.layer }, []);
      };
    }""")
    page.locator("canvas").press("+")
    page.wait_for_function("() => sent.length > answered")
    page.evaluate("answered += 1")
    page.locator("canvas").press("ArrowRight")
    settle(page)
    assert abs(pixels(page) - expected(field, newest(page))).max() <= 3


def test_a_failure_of_the_kernel_is_answered(widget, monkeypatch):
    sent = []
    monkeypatch.setattr(widget, "send", lambda message, buffers=(): sent.append((message, list(buffers))))
    monkeypatch.setattr(widget, "draw", lambda request: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        widget._answer({"id": 5, "layer": "color", "box": [0, 0, 1, 1], "size": [3, 2]}, [])
    assert sent == [({"id": 5, "layer": "color"}, [])]


def test_without_a_kernel_the_whole_image_stays(page, field):
    page.kernel = False
    page.begin()
    page.wait_for_timeout(500)
    shown = pixels(page)
    assert abs(shown - expected(field, {"box": [0, 0, 1, 1], "size": [480, 320]})).mean() < 8
    page.locator("canvas").press("+")
    assert abs(pixels(page) - shown).mean() > 4  # enlarged
