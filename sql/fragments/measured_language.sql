-- 1 where the models that labeled a tweet were measured on its language, else 0; which ${measured} and
-- ${measured_translations} are, insights/opinion.sql says.
CASE
    WHEN coalesce(labeled.translation_engine, 'none') = 'none'
      AND concat(labeled.sentiment_engine, ' ', labeled.lang) IN (${measured}) THEN 1
    WHEN concat(labeled.translation_engine, ' ', labeled.lang) IN (${measured_translations})
      AND concat(labeled.sentiment_engine, ' en') IN (${measured}) THEN 1
    ELSE 0
  END
