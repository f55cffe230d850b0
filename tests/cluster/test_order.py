"""The benchmark of the order of films sees where it is broken, and takes no order for broken that is kept."""

from benchmarks.first_come_first_served import Clip, Film, overtakings, queue_jumps


def film(ended_at: float, *clips: tuple[float, float]) -> Film:
    named = (Clip(f"chunk/{number}", *times) for number, times in enumerate(clips))
    return Film("completed", 0.0, ended_at, tuple(named))


def test_a_clip_that_begins_while_an_older_films_clip_waits_is_found() -> None:
    older, younger = film(20, (1.0, 1.1), (5.0, 9.0)), film(10, (1.0, 7.0))
    (jump,) = queue_jumps([older, younger])
    assert jump == "film 1 began chunk/0 at 7.00 s, while chunk/1 of film 0 waited from 5.00 to 9.00 s"
    assert list(queue_jumps([younger, older])) == []


def test_a_clip_that_is_only_just_ready_when_a_younger_films_begins_has_not_waited() -> None:
    older, younger = film(20, (6.9, 9.0)), film(10, (1.0, 7.0))
    assert list(queue_jumps([older, younger])) == []


def test_a_clip_that_begins_before_an_older_films_is_ready_is_right() -> None:
    assert list(queue_jumps([film(20, (8.0, 9.0)), film(10, (1.0, 7.0))])) == []


def test_a_film_that_ends_before_one_of_five_places_earlier_is_found() -> None:
    ends = [9.0, 1.0, 2.0, 3.0, 4.0, 5.0, 10.0]
    (overtaking,) = overtakings([film(end) for end in ends])
    assert overtaking.startswith(
        "film 5 ended at 5.00 s, before film 0, which was submitted 5 places earlier"
    )
