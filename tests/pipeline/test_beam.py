from __future__ import annotations

from pipeline.beam import LOCAL_BEAM_ARGS, with_runner


def test_an_argument_more_keeps_the_runner_of_this_machine() -> None:
    assert with_runner([]) == LOCAL_BEAM_ARGS
    assert with_runner(["--direct_num_workers=2"]) == [*LOCAL_BEAM_ARGS, "--direct_num_workers=2"]


def test_a_runner_named_gets_its_arguments_alone() -> None:
    named = ["--runner=PortableRunner", "--job_endpoint=localhost:8099"]
    assert with_runner(named) == named
