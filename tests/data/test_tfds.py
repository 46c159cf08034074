"""TensorFlow Datasets as a source: its own MNIST builder, fed from a server on this machine."""

import functools
import hashlib
import http.server
import os
import threading

import numpy as np
import pytest
from idx_files import FILES, make_arrays, write_folder

from experiments.data import DataError, load


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def tfds_mnist(tmp_path, monkeypatch):
    """Points TFDS's MNIST at a loopback server; returns (served folder, function to register).

    ``register(train, test)`` tells TFDS how many examples there are, and gives it the checksums of
    the served files, as its package has both for the real ones: it verifies what it downloads.
    """
    pytest.importorskip("tensorflow_datasets")
    from tensorflow_datasets.core.download import checksums
    from tensorflow_datasets.core.utils import Size
    from tensorflow_datasets.image_classification import mnist

    folder = tmp_path / "served"
    folder.mkdir()
    handler = functools.partial(QuietHandler, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}/"
    monkeypatch.setattr(mnist.MNIST, "URL", url)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    def register(train=7, test=3):
        monkeypatch.setattr(mnist, "_TRAIN_EXAMPLES", train)
        monkeypatch.setattr(mnist, "_TEST_EXAMPLES", test)
        for path in folder.iterdir():
            raw = path.read_bytes()
            info = checksums.UrlInfo(Size(len(raw)), hashlib.sha256(raw).hexdigest(), path.name)
            monkeypatch.setitem(checksums.get_all_url_infos(), url + path.name, info)

    yield folder, register
    server.shutdown()
    thread.join()
    server.server_close()


def pairs(images, labels):
    """Sorted (image, label) rows: the examples whatever their order, each as often as it occurs."""
    labels = np.asarray(labels, np.uint8)
    rows = np.concatenate([np.reshape(images, (len(labels), -1)), labels[:, None]], axis=1)
    return sorted(row.tobytes() for row in rows)


@pytest.mark.parametrize(
    ("train", "test"), [(1100, 300), pytest.param(60000, 10000, marks=pytest.mark.thorough)])
def test_tfds_downloads_prepares_and_reuses_mnist(tfds_mnist, tmp_path, capsys, train, test):
    folder, register = tfds_mnist
    arrays = make_arrays(train, test)
    for part in ("train", "test"):  # pixels are random in 4 of 28 rows, for speed
        arrays[f"{part}_images"][:, 4:] = 0
    write_folder(folder, arrays, ".gz")
    register(train, test)
    dataset = load("mnist")
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "is to download it" in printed.err
    assert "QJAX_DATA_DIR" in printed.err
    assert (tmp_path / "tfds" / "mnist").is_dir()  # TFDS_DATA_DIR as set now, not at import
    assert dataset.train_images.shape == (train, 28, 28, 1)
    for part in ("train", "test"):
        images, labels = getattr(dataset, f"{part}_images"), getattr(dataset, f"{part}_labels")
        assert images.dtype == np.uint8
        assert labels.dtype == np.int32
        expected = pairs(arrays[f"{part}_images"], arrays[f"{part}_labels"])
        assert pairs(images, labels) == expected
    # Prepared once, it needs no server, and its order is the same again.
    for path in folder.iterdir():
        os.remove(path)
    as_any = load("tfds:mnist")
    assert capsys.readouterr().err == ""
    for field in FILES:
        np.testing.assert_array_equal(getattr(dataset, field), getattr(as_any, field))
    assert (as_any.outputs, as_any.high) == (10, 255)


@pytest.mark.parametrize("failure", ["absent", "altered"])
def test_tfds_failed_download_names_the_way_without_a_network(tfds_mnist, failure):
    folder, register = tfds_mnist
    if failure == "altered":  # after TFDS was told the checksums
        write_folder(folder, make_arrays(), ".gz")
        register()
        write_folder(folder, make_arrays(seed=1), ".gz")
    reason = {"absent": "HTTP code: 404", "altered": "wrong checksum"}[failure]
    with pytest.raises(DataError, match=f"(?s)could not get mnist: .*{reason}") as info:
        load("mnist")
    assert "--data-dir" in str(info.value)
    assert "QJAX_DATA_DIR" in str(info.value)


def test_what_tfds_does_not_know():
    pytest.importorskip("tensorflow_datasets")
    with pytest.raises(DataError, match="has no 'kmnits'"):
        load("tfds:kmnits")
