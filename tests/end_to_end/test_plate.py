"""Find a rendered plate and read it, with both networks split and 8 bits an element between their halves."""

import numpy as np
import pytest

BITS = 8
TEXTS = ["A12345", "B72356", "KH4725"]
#: rendered for the ranges alone
CALIBRATION = [("E68437", 200, (170, 150)), ("T3M952", 180, (150, 180)), ("A81697", 240, (160, 160))]


def nchw(pixels, mean, std):
    """Bytes [1, height, width, RGB] -> what the float network takes, in NumPy."""
    return ((pixels[..., ::-1].astype(np.float32) - mean) / std).astype(np.float32).transpose(0, 3, 1, 2)


class FloatPipeline:
    """The two unsplit float networks in onnxruntime."""

    def __init__(self, session):
        self.detector, self.recogniser = session("plate-detector"), session("ppocr-rec")

    def detect(self, pixels):
        image = nchw(pixels[None], np.float32([104, 117, 123]), np.float32(1))
        return self.detector.run(None, {self.detector.get_inputs()[0].name: image})

    def recognise(self, crop):
        image = nchw(crop, np.float32(127.5), np.float32(127.5))
        return self.recogniser.run(None, {self.recogniser.get_inputs()[0].name: image})[0]


@pytest.fixture(scope="module")
def unsplit(session):
    return FloatPipeline(session)


@pytest.fixture(scope="module")
def reader(plates):
    return plates.Reader()


@pytest.fixture(scope="module")
def calibration(plates):
    return [plates.frame(text, width, centre, seed=9) for text, width, centre in CALIBRATION]


@pytest.fixture(scope="module")
def detector(network, calibration, tmp_path_factory):
    net = network("plate-detector", "plate")
    edge = net.narrow_cut(0.2, 0.6)
    quantizers = net.quantizers(edge, BITS, [frame.pixels[None] for frame in calibration])
    return net.split(edge, quantizers, tmp_path_factory.mktemp("detector"))


@pytest.fixture(scope="module")
def recogniser(network, plates, calibration, tmp_path_factory):
    net = network("ppocr-rec", "ppocr")
    edge = net.narrow_cut(0.2, 0.6)
    quantizers = net.quantizers(edge, BITS, [plates.crop(*frame) for frame in calibration])
    return net.split(edge, quantizers, tmp_path_factory.mktemp("recogniser"))


@pytest.mark.parametrize("text", TEXTS)
def test_split_networks_find_and_read_the_plate(text, plates, reader, detector, recogniser, unsplit):
    frame = plates.frame(text)
    whole = plates.best_plate(unsplit.detect(frame.pixels))
    split = plates.best_plate(detector.run(frame.pixels[None]))
    assert split.score > 0.9
    assert plates.overlap(split.box, frame.box) > 0.8
    assert plates.overlap(split.box, whole.box) > 0.95
    [probabilities] = recogniser.run(plates.crop(frame.pixels, split.box))
    assert reader(probabilities) == text
    assert reader(unsplit.recognise(plates.crop(frame.pixels, whole.box))) == text


def test_no_plate_is_found_where_there_is_none(plates, detector):
    pixels = plates.frame("").pixels.copy()
    pixels[:] = np.random.default_rng(1).integers(90, 150, pixels.shape)
    assert plates.best_plate(detector.run(pixels[None])).score < 0.5


def test_crossing_tensors_have_8_bits(detector, recogniser):
    for split in (detector, recogniser):
        assert split.parts
        assert all(part.bits == BITS for part in split.parts)


def test_what_crosses_is_smaller_than_the_frame(detector):
    assert sum(part.size_bytes for part in detector.parts) < 3 * 320 * 320
