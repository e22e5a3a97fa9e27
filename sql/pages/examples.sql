-- Some of the tweets behind a point of a chart, a bar or a country of a map: of a topic and a stretch of time, as
-- the page's filters narrow it.
-- They are drawn at random, each as probably as the figures weigh it: the smallest of exponential variables whose
-- rates are the weights are a weighted sample without replacement (P. Efraimidis and P. Spirakis, 2006).
SELECT
  labeled.tweet_id,
  labeled.author_id,
  labeled.lang
FROM labeled
WHERE labeled.topic = ${topic}
  AND labeled.dt BETWEEN ${first_day} AND ${last_day}
  AND labeled.ts >= ${start}
  AND labeled.ts < ${end}
  AND labeled.sentiment IS NOT NULL
  AND (${every_language} = 1 OR coalesce(nullif(labeled.lang, ''), 'und') IN (${languages}))
  AND (${every_country} = 1 OR labeled.country_code = ${country})
  AND (
    ${unmeasured} = 1
    OR ${fragments/measured_language} = 1
  )
ORDER BY -ln(random()) * CASE WHEN labeled.sample BETWEEN 1 AND 100 THEN labeled.sample ELSE 100 END
LIMIT ${count}
