"""The training's pure parts: parameters, hours, scores, the gate's decision, the wheel. No Spark."""

from __future__ import annotations

import importlib.util
import io
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from include.lake import layout
from include.training import hours, linear, wheel
from include.training.decision import NO_JUDGMENTS, Paired, decide_promotion
from include.training.errors import StateError
from include.training.metrics import scores
from include.training.parameters import ParameterError, Parameters
from include.window import Window
from tests.unit.support_hour import BUCKET, lake

ROOT = Path(__file__).parents[2]
HOUR = Window.parse("2026-11-20T05")


class TestParameters:
    @given(
        st.builds(
            Parameters,
            bucket=st.text("abc-", min_size=1).filter(lambda text: not text.startswith("-")),
            trials=st.integers(1, 500),
            margin=st.floats(0, 1),
            retrain=st.booleans(),
        )
    )
    def test_what_is_written_is_read(self, parameters: Parameters) -> None:
        arguments = [f"--{name}={value}" for name, value in parameters.named().items()]
        assert Parameters.parse(arguments) == parameters

    @pytest.mark.parametrize(
        ("arguments", "complaint"),
        [
            ([], "bucket"),
            (["--bucket=b", "--trials=0"], "at least one point"),
            (["--bucket=b", "--trials=many"], "trials"),
            (["--bucket=b", "--retrain=perhaps"], "retrain"),
            (["--bucket=b", "--epochs=3"], "--epochs=3"),
        ],
    )
    def test_what_makes_no_sense_is_rejected_by_name(self, arguments: list[str], complaint: str) -> None:
        with pytest.raises(ParameterError, match=complaint):
            Parameters.parse(arguments)


class TestHours:
    @given(
        st.dictionaries(st.text("ab", max_size=3), st.sampled_from("xy")),
        st.dictionaries(st.text("ab", max_size=3), st.sampled_from("xy")),
    )
    def test_applying_the_difference_turns_one_state_into_the_other(
        self, done: dict[str, str], there: dict[str, str]
    ) -> None:
        todo = hours.difference(done, there)
        after = {hour: etag for hour, etag in done.items() if hour not in todo.gone}
        after |= {hour: there[hour] for hour in todo.changed}
        assert after == there
        assert bool(todo) == (done != there)
        assert not hours.difference(after, there)

    def test_an_hour_is_named_by_its_topic_and_label(self) -> None:
        assert hours.name("ukraine", HOUR) == "ukraine/2026-11-20T05"
        assert hours.parse("ukraine/2026-11-20T05") == ("ukraine", HOUR)

    def test_the_labeled_layer_is_listed_by_hour(self) -> None:
        with lake() as s3:
            etag = s3.put_object(Bucket=BUCKET, Key=layout.labeled_key("ukraine", HOUR), Body=b"x")["ETag"]
            s3.put_object(Bucket=BUCKET, Key="labeled/topic=ukraine/dt=2026-11-20/other.txt", Body=b"x")
            assert hours.labeled(s3, BUCKET) == {"ukraine/2026-11-20T05": etag}

    def test_the_digest_is_that_of_the_state_whatever_its_order(self) -> None:
        one = hours.Synced({"a/2026-11-20T05": "1", "b/2026-11-20T05": "2"})
        assert one.digest == hours.Synced(dict(reversed(list(one.hours.items())))).digest
        assert one.digest != hours.Synced({**one.hours, "b/2026-11-20T05": "3"}).digest

    def test_notes_are_read_as_they_were_written(self) -> None:
        with lake() as s3:
            assert hours.find_synced(s3, BUCKET) is None
            with pytest.raises(StateError, match="run the step sync first"):
                hours.read_synced(s3, BUCKET)
            synced = hours.Synced({"ukraine/2026-11-20T05": '"e"'})
            hours.write_synced(s3, BUCKET, synced)
            assert hours.read_synced(s3, BUCKET) == synced
            predicted = hours.Predicted("a.b.c", 3, synced.hours, {"ukraine/2026-11-20T05": [1, 2, 3]})
            hours.write_predicted(s3, BUCKET, predicted)
            assert hours.read_predicted(s3, BUCKET) == predicted
            with pytest.raises(StateError, match="gate has never ended"):
                hours.read_outcome(s3, BUCKET, "gate")


class TestScores:
    def test_all_right(self) -> None:
        found = scores({(0, 0): 3, (1, 1): 2, (2, 2): 5})
        assert (found["rows"], found["accuracy"], found["macro_f1"]) == (10, 1.0, 1.0)

    def test_a_student_that_says_one_thing_only(self) -> None:
        found = scores({(0, 1): 10, (1, 1): 10, (2, 1): 10})
        assert found["accuracy"] == pytest.approx(1 / 3)
        assert found["f1_neutral"] == pytest.approx(0.5)
        assert found["macro_f1"] == pytest.approx(0.5 / 3)

    def test_nothing_to_judge(self) -> None:
        assert scores({}) == {"rows": 0.0, "accuracy": 0.0, "macro_f1": 0.0}

    @given(
        st.dictionaries(
            st.tuples(st.integers(0, 2), st.integers(0, 2)), st.integers(1, 40), min_size=1, max_size=9
        )
    )
    def test_scores_are_those_of_scikit_learn(self, confusion: dict[tuple[int, int], int]) -> None:
        from sklearn.metrics import accuracy_score, f1_score

        teacher = [pair[0] for pair, count in confusion.items() for _ in range(count)]
        student = [pair[1] for pair, count in confusion.items() for _ in range(count)]
        found = scores(confusion)
        assert found["accuracy"] == pytest.approx(accuracy_score(teacher, student))
        assert found["macro_f1"] == pytest.approx(f1_score(teacher, student, average="macro"))


class TestLinearScores:
    """Rows of 40 possible n-grams; those below 12 tell the sentiment, and each row has one of its own too."""

    SIZE = 40 + 300

    @staticmethod
    def rows(count: int = 300) -> tuple[csr_matrix, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        choice = np.random.default_rng(20)
        labels = choice.choice(3, count, p=[0.2, 0.5, 0.3])
        indices = [
            np.unique([4 * label + choice.integers(4), *choice.integers(12, 40, 4), 40 + number])
            for number, label in enumerate(labels)
        ]
        hashed = linear.hashed([each.astype(np.int32) for each in indices], TestLinearScores.SIZE)
        return hashed, labels, choice.integers(-1, 5, count)

    def test_a_row_teaches_nothing_that_its_own_score_is_made_of(self) -> None:
        rows, labels, folds = self.rows()
        scores, _ = linear.out_of_fold(rows, labels, folds, seed=20)
        for row in (int(np.flatnonzero(folds == fold)[0]) for fold in range(5)):
            other = labels.copy()
            other[folds == folds[row]] = (labels[folds == folds[row]] + 1) % 3
            changed, _ = linear.out_of_fold(rows, other, folds, seed=20)
            own = folds == folds[row]
            assert (changed[own] == scores[own]).all()
            assert (changed[~own] != scores[~own]).any()

    def test_nothing_is_learned_of_the_hold_out(self) -> None:
        rows, labels, folds = self.rows()
        scores, whole = linear.out_of_fold(rows, labels, folds, seed=20)
        other = np.where(folds == -1, (labels + 1) % 3, labels)
        changed, again = linear.out_of_fold(rows, other, folds, seed=20)
        assert (changed == scores).all()
        assert (again.weights == whole.weights).all()
        assert (scores[folds == -1] == whole.scores(rows[folds == -1])).all()
        assert not whole.weights[:, 40:][:, folds == -1].any()

    def test_what_is_learned_tells_the_sentiment_of_rows_that_nobody_has_learned_from(self) -> None:
        rows, labels, folds = self.rows()
        scores, _ = linear.out_of_fold(rows, labels, folds, seed=20)
        assert (scores.argmax(axis=1) == labels).mean() > 0.95

    def test_the_same_rows_give_the_same_scores_to_the_last_bit(self) -> None:
        once, again = (linear.out_of_fold(*self.rows(), seed=20) for _ in range(2))
        assert (once[0] == again[0]).all()
        assert (once[1].weights == again[1].weights).all()

    def test_a_sentiment_that_no_row_has_gets_no_weights(self) -> None:
        rows, labels, folds = self.rows()
        scores, whole = linear.out_of_fold(rows, np.where(labels == 1, 2, labels), folds, seed=20)
        assert not whole.weights[1].any()
        assert not scores[:, 1].any()

    def test_a_text_without_n_grams_has_no_score_of_its_own(self) -> None:
        empty = linear.hashed([np.empty(0, np.int32)], self.SIZE)
        assert empty.shape == (1, self.SIZE)
        assert empty.nnz == 0

    def test_rare_sentiments_weigh_more_but_not_as_much_as_they_are_rare(self) -> None:
        weights = linear.balanced(np.repeat([0, 1, 2], [100, 100, 400]))
        assert weights[0] == weights[100] == pytest.approx(2 * weights[200])


class TestGate:
    def test_without_a_champion_the_first_becomes_it(self) -> None:
        decision = decide_promotion({"macro_f1": 0.1, "rows": 100.0}, None, 0.01, NO_JUDGMENTS)
        assert decision.promoted
        assert "first champion" in decision.reason

    @pytest.mark.parametrize(
        ("candidate", "champion", "margin", "promoted"),
        [
            (0.62, 0.60, 0.01, True),
            (0.605, 0.60, 0.01, False),
            (0.60, 0.60, 0.0, False),
            (0.61, 0.60, 0.0, True),
            (0.50, 0.60, 0.01, False),
        ],
    )
    def test_only_what_is_better_by_the_margin_is_promoted(
        self, candidate: float, champion: float, margin: float, promoted: bool
    ) -> None:
        decision = decide_promotion(
            {"macro_f1": candidate, "rows": 9.0}, {"macro_f1": champion, "rows": 9.0}, margin, NO_JUDGMENTS
        )
        assert decision.promoted == promoted
        assert f"{champion:.4f}" in decision.reason

    @pytest.mark.parametrize(("candidate_only", "champion_only"), [(0, 0), (5, 0), (9, 3), (30, 20)])
    def test_where_people_cannot_tell_the_models_apart_the_teacher_decides(
        self, candidate_only: int, champion_only: int
    ) -> None:
        people = Paired(200, 100, candidate_only, champion_only)
        better, worse = {"macro_f1": 0.62, "rows": 9.0}, {"macro_f1": 0.60, "rows": 9.0}
        assert decide_promotion(better, worse, 0.01, people).promoted
        assert not decide_promotion(worse, better, 0.01, people).promoted

    @pytest.mark.parametrize(("candidate_only", "champion_only"), [(6, 0), (30, 10)])
    def test_where_people_can_they_decide_whatever_the_teacher_says(
        self, candidate_only: int, champion_only: int
    ) -> None:
        better, worse = {"macro_f1": 0.62, "rows": 9.0}, {"macro_f1": 0.60, "rows": 9.0}
        chosen = decide_promotion(worse, better, 0.01, Paired(200, 100, candidate_only, champion_only))
        assert chosen.promoted
        assert f"alone is right about {candidate_only}" in chosen.reason
        rejected = decide_promotion(better, worse, 0.01, Paired(200, 100, champion_only, candidate_only))
        assert not rejected.promoted
        assert "people agree with the champion" in rejected.reason

    def test_the_scores_say_how_often_each_model_agrees_with_people(self) -> None:
        assert Paired(200, 100, 30, 10).scores() == {
            "people_rows": 200.0,
            "people_accuracy": 0.65,
            "people_accuracy_champion": 0.55,
        }
        assert NO_JUDGMENTS.scores() == {"people_rows": 0.0}


class TestWheel:
    def test_the_same_files_give_the_same_bytes_and_name(self) -> None:
        assert wheel.build() == wheel.build()
        assert wheel.file_name() == f"x_opinion_training-1.0.0+g{wheel.content_digest()}-py3-none-any.whl"

    def test_it_is_one_that_an_installer_takes(self, tmp_path: Path) -> None:
        from email.parser import Parser

        with zipfile.ZipFile(io.BytesIO(wheel.build())) as archive:
            assert archive.testzip() is None
            names = archive.namelist()
            info = f"x_opinion_training-{wheel.version()}.dist-info"
            metadata = Parser().parsestr(archive.read(f"{info}/METADATA").decode())
            assert (metadata["Name"], metadata["Version"]) == (wheel.NAME, wheel.version())
            recorded = [line.split(",")[0] for line in archive.read(f"{info}/RECORD").decode().splitlines()]
            assert sorted(recorded) == sorted(names)
            archive.extractall(tmp_path)
        # From the unpacked wheel alone: parameters are read, and nothing of the pipeline's is asked for.
        told = "from include.training.steps import sync; import include, sys; print(include.__path__)"
        done = subprocess.run(
            [sys.executable, "-c", told], cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}, capture_output=True
        )
        assert str(tmp_path) in done.stdout.decode(), done.stderr.decode()

    def test_every_entry_point_is_a_function(self) -> None:
        from include.training import steps

        for step in wheel.STEPS:
            assert callable(getattr(steps, step))

    def test_it_asks_for_what_the_ml_environment_has(self) -> None:
        lock = (ROOT / "locks" / "ml.txt").read_text()
        for requirement in wheel.REQUIREMENTS:
            assert f"\n{requirement} " in f"\n{lock}", requirement

    def test_its_modules_import_nothing_that_it_leaves_behind(self) -> None:
        import ast

        contents = wheel.contents()
        modules = {path.removesuffix(".py").replace("/", ".") for path in contents if path.endswith(".py")}
        modules |= {name.removesuffix(".__init__") for name in modules}
        for path, body in contents.items():
            if not path.endswith(".py"):
                continue
            for node in ast.walk(ast.parse(body)):
                if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("include"):
                    found = {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
                    assert found & modules, f"{path} imports {node.module}"


def test_lemmas_are_read_once_each_and_keep_negation() -> None:
    lines = (ROOT / "include" / "training" / "lemmas.txt").read_text().splitlines()
    entries = dict(line.split(" -> ") for line in lines)
    assert len(entries) == len(lines)
    forms = [form for written in entries.values() for form in written.split(",")]
    assert len(forms) == len(set(forms))
    assert not set(forms) & entries.keys()
    assert {"don't", "can't", "won't"} <= set(entries["not"].split(","))


def test_predictions_lie_beside_what_was_labeled() -> None:
    key = layout.predictions_key("v3", "ukraine", HOUR)
    assert key == "predictions/model=v3/topic=ukraine/dt=2026-11-20/tweets-05.parquet"
    assert layout.labeled_hour(layout.labeled_key("ukraine", HOUR)) == ("ukraine", HOUR)
    assert layout.labeled_hour(key) is None


def test_the_steps_need_no_spark_to_be_imported() -> None:
    assert importlib.util.find_spec("pyspark") is None
    import include.training.steps  # noqa: F401


def test_the_lexicon_says_once_how_pleasant_each_word_is_and_names_its_license() -> None:
    lines = (ROOT / "include" / "training" / "lexicon.txt").read_text().splitlines()
    head = [line for line in lines if line.startswith("#")]
    entries = [line.split("\t") for line in lines[len(head) :]]
    assert any("MIT License" in line for line in head)
    assert len({word for word, _ in entries}) == len(entries)
    assert all(word == word.lower() and 0 < abs(float(value)) <= 4 for word, value in entries)
    assert {"love", "hate"} <= {word for word, _ in entries}
