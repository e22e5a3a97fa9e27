"""The features: named parts, each fitted on the training rows, together one vector.

A part is fitted on Spark and leaves ordinary pipeline stages, so that the model carries all it needs and
reads nothing but a text. Texts are first cleaned, and turned by Spark NLP into terms: lemmas and their
n-grams up to three words, without stop-word removal, as that removes "not".
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib.resources import as_file, files

from pyspark.ml import Model, Pipeline, PipelineModel, Transformer
from pyspark.ml.classification import LogisticRegression, NaiveBayes
from pyspark.ml.feature import IDF, CountVectorizer, HashingTF, SQLTransformer, VectorAssembler
from pyspark.sql import DataFrame, functions

from include.training.parameters import ParameterError

log = logging.getLogger(__name__)

FEATURES = "features"
"""The column of the finished vector."""

_CLEAN = """SELECT *, regexp_replace(regexp_replace(regexp_replace(
  substring(coalesce(text, ''), 1, 400),
  r'https?://[^ ]+', ' http '), r'@[A-Za-z0-9_]+', ' @user '), r'[’‘]', "'") AS cleaned
FROM __THIS__"""
"""Links and handles masked, apostrophes alike; 400 characters are more than ordinary accounts can post."""
_STRETCHES = """SELECT *, flatten(transform(array(2, 3, 4, 5), n -> transform(
  sequence(1, greatest(length(cleaned) - n + 1, 1)), i -> lower(substring(cleaned, i, n))))) AS stretches
FROM __THIS__"""
FOLDS = 3
"""Into how many parts the rows that teach are divided: each is judged by what the others teach."""


@dataclass(frozen=True)
class Fitted:
    """A part that has been fitted: the stages that make its ``columns``, and the rows that have them."""

    stages: Sequence[Transformer]
    columns: Sequence[str]
    rows: DataFrame


def base(rows: DataFrame) -> tuple[Sequence[Transformer], DataFrame]:
    """The stages that every part builds on, and ``rows`` (with ``text``) with ``cleaned`` and ``terms``."""
    model = _terms().fit(rows)
    return model.stages, model.transform(rows)


def fit(names: Sequence[str], rows: DataFrame) -> tuple[Sequence[Transformer], DataFrame]:
    """Fits the parts on rows with ``cleaned, terms, label, fold``.

    ``fold`` is null on rows that nothing may be learned from: they get their features from parts fitted on
    all others. Where a part holds what a label says, a row that it learns from gets its features from a
    model that has not seen that row. Raises `ParameterError` for a part that is not known.
    """
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        raise ParameterError(f"there are no features {', '.join(unknown)}; there are {', '.join(PARTS)}")
    stages: list[Transformer] = []
    columns: list[str] = []
    for name in names:
        part = PARTS[name](rows)
        stages += part.stages
        columns += part.columns
        rows = part.rows
    assembler = VectorAssembler(inputCols=columns, outputCol=FEATURES)
    return [*stages, assembler], assembler.transform(rows)


def _terms() -> Pipeline:
    from sparknlp.annotator import Lemmatizer, NGramGenerator, Normalizer, Tokenizer
    from sparknlp.base import DocumentAssembler, Finisher

    clean = SQLTransformer(statement=_CLEAN)
    with as_file(files("include.training") / "lemmas.txt") as dictionary:
        lemmatizer = (
            Lemmatizer()
            .setInputCols(["normal"])
            .setOutputCol("lemma")
            .setDictionary(f"file:{dictionary}", "->", ",")
        )
    return Pipeline(
        stages=[
            clean,
            DocumentAssembler().setInputCol("cleaned").setOutputCol("document"),
            Tokenizer().setInputCols(["document"]).setOutputCol("token"),
            Normalizer()
            .setInputCols(["token"])
            .setOutputCol("normal")
            .setLowercase(True)
            .setCleanupPatterns([r"[^\p{L}\p{M}\p{So}']"]),
            lemmatizer,
            NGramGenerator().setInputCols(["lemma"]).setOutputCol("ngram").setN(3).setEnableCumulative(True),
            Finisher().setInputCols(["ngram"]).setOutputCols(["terms"]).setCleanAnnotations(True),
        ]
    )


def _learned(rows: DataFrame) -> DataFrame:
    return rows.where("fold IS NOT NULL")


def lemmas(rows: DataFrame) -> Fitted:
    """Counts of terms, weighted by how rare they are: what the trees of the original recipe look at."""
    model = _weighted_terms("lemmas", vocabulary=4_096).fit(_learned(rows))
    return Fitted(model.stages, ["lemmas"], model.transform(rows))


def _weighted_terms(column: str, vocabulary: int) -> Pipeline:
    return Pipeline(
        stages=[
            CountVectorizer(inputCol="terms", outputCol=f"{column}_counts", vocabSize=vocabulary, minDF=3),
            IDF(inputCol=f"{column}_counts", outputCol=column),
        ]
    )


_STYLE = {
    "length": "length(cleaned)",
    "words": "size(split(cleaned, ' '))",
    "capitals": r"regexp_count(cleaned, r'\p{Lu}') / greatest(length(cleaned), 1)",
    "shouted": r"regexp_count(cleaned, r'\b\p{Lu}{3,}\b')",
    "exclamations": "regexp_count(cleaned, r'!')",
    "questions": r"regexp_count(cleaned, r'\?')",
    "pauses": r"regexp_count(cleaned, r'\.\.|…')",
    "stretched": r"regexp_count(cleaned, r'(\p{L})\1\1')",
    "mentions": "regexp_count(cleaned, r'@user')",
    "links": "regexp_count(cleaned, r' http ')",
    "hashtags": "regexp_count(cleaned, r'#')",
    "digits": "regexp_count(cleaned, r'[0-9]')",
    "quotes": "regexp_count(cleaned, r'[\"“”«»]')",
    "smiles": r"regexp_count(cleaned, r'[:;=8xX]-?[)\]dDpP*]|<3|\^_?\^|[)]{2,}')",
    "frowns": r"regexp_count(cleaned, r'[:;=]-?[(\[/|]|[\(]{2,}')",
    "glad_emoji": "regexp_count(cleaned, r'[😀-😏😗-😝😺-😽🙂🙃🤗🤣🤩🥰🥳👍👏🙏💪🎉🎊✨🔥❤💕-💟♥☺]')",
    "sad_emoji": "regexp_count(cleaned, r'[😐-😖😞-😷😾😿🙁🙄🤔🤢🤬🤮🤯🥺👎💔💀😡☹]')",
    "negations": "size(filter(terms, term -> term IN ('not', 'no', 'never', 'nothing', 'nobody', 'nor',"
    " 'без', 'не', 'ні', 'нет', 'nicht', 'kein', 'keine', 'nunca', 'nada', 'pas', 'jamais', 'rien', 'não',"
    " 'non', 'mai', 'nie', 'لا', 'ليس', 'नहीं')))",
}


def style(rows: DataFrame) -> Fitted:
    """How a text is written: capitals, punctuation, emoticons, emoji, negations; a number each."""
    expressions = ", ".join(
        f"CAST({expression} AS double) AS style_{name}" for name, expression in _STYLE.items()
    )
    stage = SQLTransformer(statement=f"SELECT *, {expressions} FROM __THIS__")  # noqa: S608 - ours alone
    return Fitted([stage], [f"style_{name}" for name in _STYLE], stage.transform(rows))


def bayes(rows: DataFrame) -> Fitted:
    """What naive Bayes makes of the terms and of stretches of two to five characters: three probabilities.

    A row that it learns from is judged by the counts of the other folds.
    """
    hashed = [
        HashingTF(inputCol="terms", outputCol="bayes_terms", numFeatures=2**16, binary=True),
        SQLTransformer(statement=_STRETCHES),
        HashingTF(inputCol="stretches", outputCol="bayes_stretches", numFeatures=2**16, binary=True),
    ]
    seen = PipelineModel(hashed).transform(rows).drop("stretches").cache()
    learned = _learned(seen)
    estimators = [_naive_bayes(column) for column in ("bayes_terms", "bayes_stretches")]
    whole = _beside([partial(estimator.fit, learned) for estimator in estimators])
    judged = _judged(whole, seen.where("fold IS NULL"))
    for fold in range(FOLDS):
        others = learned.where(functions.col("fold") != fold)
        models = _beside([partial(estimator.fit, others) for estimator in estimators])
        judged = judged.unionByName(_judged(models, seen.where(functions.col("fold") == fold)))
    margins = VectorAssembler(
        inputCols=["bayes_terms_margins", "bayes_stretches_margins"], outputCol="bayes_margins"
    )
    judged = margins.transform(judged)
    # Naive Bayes is far too sure of itself: its probabilities are 0 or 1, and trees see no difference.
    calibrated = LogisticRegression(
        featuresCol="bayes_margins",
        labelCol="label",
        probabilityCol="bayes",
        rawPredictionCol="bayes_calibrated",
        predictionCol="bayes_prediction",
        family="multinomial",
        maxIter=30,
    ).fit(_learned(judged))
    return Fitted([*hashed, *whole, margins, calibrated], ["bayes"], calibrated.transform(judged))


def _naive_bayes(column: str) -> NaiveBayes:
    return NaiveBayes(
        featuresCol=column,
        labelCol="label",
        probabilityCol=f"{column}_p",
        rawPredictionCol=f"{column}_margins",
        predictionCol=f"{column}_prediction",
    )


def _judged(models: Sequence[Model], rows: DataFrame) -> DataFrame:
    return PipelineModel(list(models)).transform(rows)


def _beside(works: Sequence[Callable[[], Model]]) -> list[Model]:
    """Fits models beside each other: one alone leaves part of the cluster idle."""
    with ThreadPoolExecutor(len(works)) as threads:
        return list(threads.map(lambda work: work(), works))


Part = Callable[[DataFrame], Fitted]

PARTS: dict[str, Part] = {part.__name__: part for part in (lemmas, style, bayes)}
"""The parts by the names that the parameter ``features`` takes."""
