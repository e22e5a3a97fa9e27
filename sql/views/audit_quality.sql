-- How far each model agrees with people, and people with each other, by month, model and language, over all topics.
-- Models are those that labeled and, where it has predicted the drawn tweets, the student. Tweets count by 100 / sample / chance; of tweets that two people judged both judgments count by half.
-- Agreement between people is Krippendorff's alpha for ordered categories (K. Krippendorff, Computing
-- Krippendorff's Alpha-Reliability, 2011): 1 is perfect, 0 what chance gives.
--
-- Columns:
--   dt varchar: First day of the month, UTC, yyyy-MM-dd
--   engine varchar: The model that labeled, or the student with its version, such as student v3
--   lang varchar: The language that X names
--   measured integer: 1 if the model was measured on this language, else 0
--   audited bigint: Tweets that people judged
--   accuracy double: Share of tweets whose label is what people say, 0 to 1
--   macro_f1 double: Mean F1 of the sentiments that people or the model name, 0 to 1
--   negative_as_negative double: Share of all that people call negative and the model too, 0 to 1
--   negative_as_neutral double: Share of all that people call negative and the model neutral, 0 to 1
--   negative_as_positive double: Share of all that people call negative and the model positive, 0 to 1
--   neutral_as_negative double: Share of all that people call neutral and the model negative, 0 to 1
--   neutral_as_neutral double: Share of all that people call neutral and the model too, 0 to 1
--   neutral_as_positive double: Share of all that people call neutral and the model positive, 0 to 1
--   positive_as_negative double: Share of all that people call positive and the model negative, 0 to 1
--   positive_as_neutral double: Share of all that people call positive and the model neutral, 0 to 1
--   positive_as_positive double: Share of all that people call positive and the model too, 0 to 1
--   judged_twice bigint: Tweets that several people judged
--   alpha double: Agreement between these people, at most 1; null where their judgments do not vary
WITH people AS (
  SELECT
    tweet_id,
    count(*) AS judges,
    count_if(judgment = 'Negative') AS negative,
    count_if(judgment = 'Neutral') AS neutral,
    count_if(judgment = 'Positive') AS positive
  FROM audit_judged
  WHERE judgment IN ('Negative', 'Neutral', 'Positive')
  GROUP BY tweet_id
),
labels AS (
  SELECT tweet_id, engine, sentiment
  FROM audit_drawn
  UNION ALL
  SELECT tweet_id, concat('student ', model) AS engine, sentiment
  FROM audit_predicted
),
judged AS (
  SELECT
    drawn.dt,
    labels.engine,
    drawn.lang,
    drawn.measured,
    labels.sentiment,
    people.judges,
    people.negative,
    people.neutral,
    people.positive,
    1e2 / drawn.sample / drawn.chance / people.judges AS weight
  FROM audit_drawn AS drawn
  JOIN people ON people.tweet_id = drawn.tweet_id
  JOIN labels ON labels.tweet_id = drawn.tweet_id
),
cells AS (
  SELECT
    dt,
    engine,
    lang,
    max(measured) AS measured,
    count(*) AS audited,
    sum(weight * judges) AS whole,
    sum(CASE WHEN sentiment = 'Negative' THEN weight * negative ELSE 0e0 END) AS nn,
    sum(CASE WHEN sentiment = 'Neutral' THEN weight * negative ELSE 0e0 END) AS nu,
    sum(CASE WHEN sentiment = 'Positive' THEN weight * negative ELSE 0e0 END) AS np,
    sum(CASE WHEN sentiment = 'Negative' THEN weight * neutral ELSE 0e0 END) AS un,
    sum(CASE WHEN sentiment = 'Neutral' THEN weight * neutral ELSE 0e0 END) AS uu,
    sum(CASE WHEN sentiment = 'Positive' THEN weight * neutral ELSE 0e0 END) AS up,
    sum(CASE WHEN sentiment = 'Negative' THEN weight * positive ELSE 0e0 END) AS pn,
    sum(CASE WHEN sentiment = 'Neutral' THEN weight * positive ELSE 0e0 END) AS pu,
    sum(CASE WHEN sentiment = 'Positive' THEN weight * positive ELSE 0e0 END) AS pp,
    count_if(judges > 1) AS judged_twice,
    -- Coincidences of two judgments of one tweet, and how often each was given to such tweets.
    sum(CASE WHEN judges > 1 THEN negative * neutral / (judges - 1e0) ELSE 0e0 END) AS negative_neutral,
    sum(CASE WHEN judges > 1 THEN negative * positive / (judges - 1e0) ELSE 0e0 END) AS negative_positive,
    sum(CASE WHEN judges > 1 THEN neutral * positive / (judges - 1e0) ELSE 0e0 END) AS neutral_positive,
    sum(CASE WHEN judges > 1 THEN CAST(negative AS double) ELSE 0e0 END) AS negatives,
    sum(CASE WHEN judges > 1 THEN CAST(neutral AS double) ELSE 0e0 END) AS neutrals,
    sum(CASE WHEN judges > 1 THEN CAST(positive AS double) ELSE 0e0 END) AS positives
  FROM judged
  GROUP BY dt, engine, lang
),
distances AS (
  SELECT
    *,
    power((negatives + neutrals) / 2, 2) AS near_negative,
    power((neutrals + positives) / 2, 2) AS near_positive,
    power(negatives / 2 + neutrals + positives / 2, 2) AS apart,
    filter(
      ARRAY[
        2 * nn / nullif(2 * nn + nu + np + un + pn, 0e0),
        2 * uu / nullif(2 * uu + un + up + nu + pu, 0e0),
        2 * pp / nullif(2 * pp + pn + pu + np + up, 0e0)
      ],
      f1 -> f1 IS NOT NULL
    ) AS f1
  FROM cells
)
SELECT
  dt,
  engine,
  lang,
  measured,
  audited,
  (nn + uu + pp) / whole AS accuracy,
  reduce(f1, 0e0, (total, each) -> total + each, total -> total / cardinality(f1)) AS macro_f1,
  nn / whole AS negative_as_negative,
  nu / whole AS negative_as_neutral,
  np / whole AS negative_as_positive,
  un / whole AS neutral_as_negative,
  uu / whole AS neutral_as_neutral,
  up / whole AS neutral_as_positive,
  pn / whole AS positive_as_negative,
  pu / whole AS positive_as_neutral,
  pp / whole AS positive_as_positive,
  judged_twice,
  1 - (negatives + neutrals + positives - 1)
    * (negative_neutral * near_negative + negative_positive * apart + neutral_positive * near_positive)
    / nullif(
      negatives * neutrals * near_negative + negatives * positives * apart + neutrals * positives * near_positive, 0e0
    ) AS alpha
FROM distances
