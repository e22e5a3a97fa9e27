"""The features of a tweet, as the stages of one pipeline that reads ``text`` and ``lang``.

Spark NLP cleans a text and splits it into lemmas. N-grams of lemmas and of the characters within words are
hashed, and `include.training.linear` learns to score them; a lexicon scores how pleasant English words are,
and counts describe how a text is written. These few numbers are the input of the trees, with the language
that X names: how often each sentiment occurs differs between languages.

Stop words stay, as they include "not".
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import as_file, files

import numpy as np
from pyspark import SparkContext
from pyspark.ml import Pipeline, PipelineModel, Transformer
from pyspark.ml.classification import LogisticRegressionModel
from pyspark.ml.common import _py2java
from pyspark.ml.feature import CountVectorizerModel, HashingTF, Normalizer, SQLTransformer, VectorAssembler
from pyspark.ml.linalg import DenseMatrix, DenseVector
from pyspark.ml.wrapper import JavaWrapper
from pyspark.sql import DataFrame

from include.training.linear import Linear

FEATURES = "features"
"""The column of the finished vector."""
HASHED = ("words", "characters")
"""The columns of hashed n-grams: sparse vectors of `BUCKETS`, 1 if the text has an n-gram."""
BUCKETS = 2**18

_CLEAN = """SELECT *, regexp_replace(regexp_replace(regexp_replace(
  substring(coalesce(text, ''), 1, 400),
  r'https?://[^ ]+', ' http '), r'@[A-Za-z0-9_]+', ' @user '), r'[’‘]', "'") AS cleaned
FROM __THIS__"""
"""Links and handles masked, apostrophes alike; 400 characters are more than ordinary accounts can post."""
_NEGATIONS = """
  "not", "no", "never", "nothing", "nobody", "nor", "none", "neither", "without", "hardly", "cannot",
  "can't", "don't", "won't", "isn't", "aren't", "wasn't", "weren't", "doesn't", "didn't", "haven't",
  "hasn't", "hadn't", "shouldn't", "wouldn't", "couldn't", "ain't", "cant", "dont", "wont", "isnt",
  "didnt", "doesnt", "aint", "без", "не", "ні", "нет", "nicht", "kein", "keine", "nunca", "nada", "pas",
  "jamais", "rien", "não", "non", "mai", "nie", "لا", "ليس", "नहीं"
"""
_N_GRAMS = f"""SELECT *,
  concat(lemmas, transform(slice(lemmas, 2, size(lemmas)), (lemma, i) -> concat(lemmas[i], ' ', lemma)))
    AS word_n_grams,
  flatten(transform(filter(split(lower(cleaned), '\\\\s+'), word -> word <> ''), word -> flatten(
    transform(array(2, 3, 4, 5), n -> transform(sequence(1, greatest(length(word) + 3 - n, 1)),
      i -> substring(concat(' ', word, ' '), i, n)))))) AS character_n_grams,
  transform(lemmas, (lemma, i) -> if(
    exists(slice(lemmas, greatest(i - 2, 1), least(i, 3)), before -> before IN ({_NEGATIONS})),
    concat('not ', lemma), lemma)) AS negated,
  array(coalesce(lang, '')) AS language
FROM __THIS__"""  # noqa: S608 - ours alone
"""Lemmas and pairs of them; two to five characters within words; lemmas after a negation; `SPOKEN`."""
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
    "arabic": r"regexp_count(cleaned, r'\p{IsArabic}') / greatest(length(cleaned), 1)",
    "cyrillic": r"regexp_count(cleaned, r'\p{IsCyrillic}') / greatest(length(cleaned), 1)",
    "devanagari": r"regexp_count(cleaned, r'\p{IsDevanagari}') / greatest(length(cleaned), 1)",
    "negations": f"size(filter(lemmas, lemma -> lemma IN ({_NEGATIONS})))",
}

_VALENCE = ("positive", "negative", "positives", "negatives")
"""The lexicon's features: sums of valences above and below 0, and the numbers of such words."""
_NEGATED = -0.74
"""The factor of a negated valence (Hutto and Gilbert 2014)."""

READ = "read"
"""The column of features without learned parameters: a vector of the lexicon's and the style's numbers."""
SPOKEN = "language"
"""The column of the tweet's language, the only element of an array."""


def reader(rows: DataFrame) -> PipelineModel:
    """The stages that make `HASHED` and `READ` from ``text``; they learn nothing from ``rows``."""
    lexicon = _lexicon()
    words = list(lexicon)
    expressions = ", ".join(
        f"CAST({expression} AS double) AS style_{name}" for name, expression in _STYLE.items()
    )
    hashing = [
        HashingTF(inputCol=f"{name}_n_grams", outputCol=column, numFeatures=BUCKETS, binary=True)
        for name, column in zip(("word", "character"), HASHED, strict=True)
    ]
    valence = np.array(
        [(max(value, 0), min(value, 0), float(value > 0), float(value < 0)) for value in lexicon.values()]
    ).T
    return Pipeline(
        stages=[
            *_lemmas(),
            SQLTransformer(statement=_N_GRAMS),
            *hashing,
            CountVectorizerModel.from_vocabulary(words, inputCol="negated", outputCol="lexicon_counts"),
            linear(Linear(valence, np.zeros(len(_VALENCE))), "lexicon_counts", "lexicon"),
            SQLTransformer(statement=f"SELECT *, {expressions} FROM __THIS__"),  # noqa: S608 - ours alone
            VectorAssembler(inputCols=["lexicon", *(f"style_{name}" for name in _STYLE)], outputCol=READ),
        ]
    ).fit(rows)


def scorer(scored: Sequence[Linear], languages: Sequence[str]) -> list[Transformer]:
    """The stages after `reader` that make `FEATURES`.

    These are the learned scores of each of `HASHED`, `READ`, and which of ``languages`` the tweet is in.
    """
    stages: list[Transformer] = [
        CountVectorizerModel.from_vocabulary(list(languages), inputCol=SPOKEN, outputCol="languages")
    ]
    for column, learned in zip(HASHED, scored, strict=True):
        stages += [
            Normalizer(inputCol=column, outputCol=f"{column}_normal"),
            linear(learned, f"{column}_normal", f"{column}_scores"),
        ]
    columns = [*(f"{column}_scores" for column in HASHED), READ, "languages"]
    return [*stages, VectorAssembler(inputCols=columns, outputCol=FEATURES)]


def linear(learned: Linear, column: str, output: str) -> LogisticRegressionModel:
    """A stage that writes `Linear.scores` of the vectors in ``column`` to ``output``.

    Spark has no public way to create a linear model from given weights, so this calls the constructor that
    its own reader calls (`LogisticRegressionModelReader.load`).
    """
    context = SparkContext._active_spark_context
    count, size = learned.weights.shape
    made = JavaWrapper._new_java_obj(
        "org.apache.spark.ml.classification.LogisticRegressionModel",
        f"linear_{output}",
        _py2java(context, DenseMatrix(count, size, learned.weights.ravel(order="F"))),
        _py2java(context, DenseVector(learned.intercepts)),
        count,
        True,
    )
    model: LogisticRegressionModel = LogisticRegressionModel(made)
    for option in ("probabilityCol", "predictionCol"):
        model._set(**{option: ""})
    return model._set(featuresCol=column, rawPredictionCol=output)


def _lemmas() -> list[Transformer]:
    from sparknlp.annotator import Lemmatizer, Normalizer, Tokenizer
    from sparknlp.base import DocumentAssembler, Finisher

    with as_file(files("include.training") / "lemmas.txt") as dictionary:
        lemmatizer = (
            Lemmatizer()
            .setInputCols(["normal"])
            .setOutputCol("lemma")
            .setDictionary(f"file:{dictionary}", "->", ",")
        )
    return [
        SQLTransformer(statement=_CLEAN),
        DocumentAssembler().setInputCol("cleaned").setOutputCol("document"),
        Tokenizer().setInputCols(["document"]).setOutputCol("token"),
        Normalizer()
        .setInputCols(["token"])
        .setOutputCol("normal")
        .setLowercase(True)
        .setCleanupPatterns([r"[^\p{L}\p{M}\p{So}'!?:;()]"]),
        lemmatizer,
        Finisher().setInputCols(["lemma"]).setOutputCols(["lemmas"]).setCleanAnnotations(True),
    ]


def _lexicon() -> dict[str, float]:
    """Valences by lemma, and by ``not lemma`` those of negated ones."""
    lines = (files("include.training") / "lexicon.txt").read_text("utf-8").splitlines()
    read = (line.split("\t") for line in lines if not line.startswith("#"))
    found = {word: float(value) for word, value in read}
    return {**found, **{f"not {word}": _NEGATED * value for word, value in found.items()}}
