import pytest

from eoren.model.loss import OBJECTIVES, Objective, Pass


def test_the_papers_objective_has_no_colour_in_it_and_pixel_no_gradient():
    assert {name: (o.color > 0, o.gradient > 0) for name, o in OBJECTIVES.items()} == {
        "gradient": (False, True),
        "pixel": (True, False),
        "sobolev": (True, True),
    }
    assert all(objective.name == name for name, objective in OBJECTIVES.items())
    assert OBJECTIVES["gradient"].gradient == OBJECTIVES["pixel"].color == OBJECTIVES["sobolev"].color == 1
    assert OBJECTIVES["sobolev"].gradient == 0.1
    with pytest.raises(TypeError):
        OBJECTIVES["pixel"] = OBJECTIVES["gradient"]
    with pytest.raises(AttributeError):
        OBJECTIVES["pixel"].color = 2.0


every_objective = pytest.mark.parametrize(
    "objective", [*OBJECTIVES.values(), Objective("odd", 0.3, 7.0)], ids=lambda o: o.name
)


@every_objective
@pytest.mark.parametrize("in_turn", [True, False])
def test_both_axes_weigh_the_same_and_once(objective, in_turn):
    found = objective.stream_weights((0, 1), in_turn=in_turn)
    assert found == (objective.color, objective.gradient, objective.gradient)


@every_objective
@pytest.mark.parametrize("axes", [(0,), (1,)], ids=str)
def test_one_axis_alone_stands_for_both_unless_another_pass_has_the_other(objective, axes):
    assert objective.stream_weights(axes) == (objective.color, 2 * objective.gradient)
    assert objective.stream_weights(axes, in_turn=True) == objective.stream_weights(axes)
    assert objective.stream_weights(axes, in_turn=False) == (objective.color, objective.gradient)


@every_objective
@pytest.mark.parametrize("in_turn", [True, False])
def test_without_axes_there_is_colour_alone(objective, in_turn):
    assert objective.stream_weights((), in_turn=in_turn) == (objective.color,)


@every_objective
def test_axes_in_turn_and_axes_apart_come_to_what_both_are_together(objective):
    _, x, y = objective.stream_weights((0, 1))
    assert [objective.stream_weights((axis,))[1] / 2 for axis in (0, 1)] == [x, y]  # mean of two steps
    assert [objective.stream_weights((axis,), in_turn=False)[1] for axis in (0, 1)] == [x, y]  # sum of two passes


def test_a_pass_is_at_the_pixel_centres_unless_it_says_otherwise():
    assert Pass((0, 1), (1.0, 0.1, 0.1)) == Pass((0, 1), (1.0, 0.1, 0.1), (0.0, 0.0))
    assert Pass((0,), (0.0, 1.0), (0.5, 0.0)) != Pass((0,), (0.0, 1.0))
    with pytest.raises(AttributeError):
        Pass((), (1.0,)).axes = (0,)
