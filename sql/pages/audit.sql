-- How far people and models agree, by month, of the months between two days: what the page Audit shows.
SELECT
  dt, engine, lang, measured, audited, accuracy, macro_f1, negative_as_negative, negative_as_neutral,
  negative_as_positive, neutral_as_negative, neutral_as_neutral, neutral_as_positive, positive_as_negative,
  positive_as_neutral, positive_as_positive, judged_twice, alpha
FROM audit_quality
WHERE dt BETWEEN ${first_day} AND ${last_day}
ORDER BY dt DESC, engine, audited DESC, lang
