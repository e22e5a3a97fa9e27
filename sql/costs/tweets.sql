-- The labeled tweets of some days, by the aggregates.
SELECT coalesce(sum(tweets), 0) AS tweets
FROM opinion_hourly
WHERE dt BETWEEN ${first_day} AND ${last_day}
