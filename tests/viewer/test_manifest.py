import json
from urllib.parse import urlsplit


def test_a_manifest_offers_every_layer_with_its_image_service(server):
    answer = server.request("/iiif/small/manifest.json", Origin="https://viewer.example")
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, "*")
    manifest = json.loads(answer.content)
    assert manifest["@context"] == "http://iiif.io/api/presentation/3/context.json"
    assert (manifest["type"], manifest["label"]) == ("Manifest", {"none": ["small"]})
    assert json.loads(server.request(urlsplit(manifest["id"]).path).content) == manifest
    [canvas] = manifest["items"]
    [page] = canvas["items"]
    [painting] = page["items"]
    assert [part["type"] for part in (canvas, page, painting)] == ["Canvas", "AnnotationPage", "Annotation"]
    assert (painting["motivation"], painting["target"], painting["body"]["type"]) == (
        "painting",
        canvas["id"],
        "Choice",
    )
    layers = painting["body"]["items"]
    assert [layer["label"]["en"][0] for layer in layers] == [
        *("Field", "Gradient magnitude", "Gradient direction", "Laplacian", "Image", "Cubic spline", "Difference")
    ]
    for layer in layers:
        [service] = layer["service"]
        info = json.loads(server.request(f"{urlsplit(service['id']).path}/info.json").content)
        assert (info["id"], info["type"], info["profile"]) == (service["id"], service["type"], service["profile"])
        assert (info["width"], info["height"]) == (layer["width"], layer["height"]) == (1920, 1280)
        assert (canvas["width"], canvas["height"]) == (1920, 1280)
        image = server.request(urlsplit(layer["id"]).path)
        assert (image.status, image.headers["content-type"]) == (200, layer["format"])


def test_fields_without_an_image_have_fewer_layers(server):
    manifest = json.loads(server.request("/iiif/a-b/manifest.json").content)
    assert len(manifest["items"][0]["items"][0]["items"][0]["body"]["items"]) == 4
    assert server.request("/iiif/none/manifest.json").status == 404
