import pytest
import torch

from sleepengine.errors import FileError
from sleepengine.files import container
from sleepengine.masks.store import MaskStore
from sleepengine.report.mask_pictures import (
    first_layer,
    load_masks,
    mosaic,
    pictures,
    shrink,
    unit_images,
)
from sleepengine.report.run_data import RunData


def test_masks_come_back_from_the_file(make_run):
    run = RunData.load(make_run(masks=True, levels=2, seeds=(0,)))
    store = load_masks(run.masks[-1].path)
    assert store.names() == ("fc1.weight", "fc2.weight")
    assert store.fraction("fc1.weight") == 0.5
    assert store.awake("fc2.weight") is None


def test_a_file_of_something_else(tmp_path):
    container.write(tmp_path / "a.masks", {"shapes": {"w": [2]}}, kind="masks")
    with pytest.raises(FileError, match=r"a\.masks: these are not masks"):
        load_masks(tmp_path / "a.masks")
    container.write(tmp_path / "b.masks", [1], kind="masks")
    with pytest.raises(FileError, match=r"b\.masks: these are not masks"):
        load_masks(tmp_path / "b.masks")


def test_the_first_layer_is_a_matrix():
    shapes = {"bias": torch.Size([3]), "w": torch.Size([3, 2]), "v": torch.Size([2, 3])}
    assert first_layer(MaskStore(shapes)) == "w"
    assert first_layer(MaskStore({"bias": torch.Size([3])})) is None


def test_unit_images_of_a_linear_layer_average_the_channels():
    # Two channels of 1 × 2 pixels: channel 0 is (1, 0), channel 1 is (1, 1).
    awake = torch.tensor([[True, False, True, True]])
    assert unit_images(awake, (2, 1, 2)).tolist() == [[[1.0, 0.5]]]


def test_unit_images_of_a_convolution_average_the_inputs():
    awake = torch.ones(5, 2, 3, 3, dtype=torch.bool)
    awake[0, 0] = False
    images = unit_images(awake, (2, 8, 8))
    assert images.shape == (5, 3, 3)
    assert images[0].unique().tolist() == [0.5]


@pytest.mark.parametrize(
    ("shape", "input_shape"),
    [((4, 6), None), ((4, 6), (6,)), ((4, 6), (1, 2, 2)), ((4, 3, 1, 1), (3, 8, 8))],
)
def test_no_images_where_the_input_is_none(shape, input_shape):
    assert unit_images(torch.ones(shape, dtype=torch.bool), input_shape) is None


def test_mosaic_leaves_lines_between_images_and_room_after_the_last():
    images = torch.stack([torch.full((2, 1), float(k)) for k in (1, 2, 3)])
    grid = mosaic(images, columns=2)
    expected = [
        [1.0, -1.0, 2.0],
        [1.0, -1.0, 2.0],
        [-1.0, -1.0, -1.0],
        [3.0, -1.0, -1.0],
        [3.0, -1.0, -1.0],
    ]
    assert grid.nan_to_num(-1.0).tolist() == expected


def test_shrink_keeps_the_mean_and_small_grids():
    grid = torch.rand(8, 4, generator=torch.Generator().manual_seed(0))
    small = shrink(grid, most=2)
    assert small.shape == (2, 2)
    assert small[0, 0].item() == pytest.approx(grid[:4, :2].mean().item())
    assert torch.equal(shrink(grid, most=8), grid)


def test_a_lottery_shows_each_level_and_the_last_closely(make_run):
    shown = pictures(RunData.load(make_run(masks=True, levels=3, seeds=(0, 1))))
    assert [picture.title for picture in shown] == [
        "level 0, 100%",
        "level 1, 50.0%",
        "level 2, 25.0%",
        "fc1.weight of ticket, seed 0, level 2: incoming weights of all units",
    ]
    assert shown[1].grid.shape == (28, 28)
    assert shown[1].grid.mean().item() == pytest.approx(0.5)
    assert "25.0% of these weights are awake" in shown[3].alt


def test_without_an_image_input_the_matrix_is_shown(make_run):
    shown = pictures(RunData.load(make_run(masks=True, levels=2, seeds=(0,), input_shape=None)))
    assert len(shown) == 1
    assert shown[0].grid.shape == (30, 160)
    assert "rows are outputs" in shown[0].title


def test_no_mask_files_no_pictures(make_run):
    assert pictures(RunData.load(make_run())) == ()
