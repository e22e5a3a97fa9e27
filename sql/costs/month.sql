-- The costs of some days, by stage and item.
SELECT
  service,
  item,
  stage,
  unit,
  sum(quantity) AS quantity,
  sum(dollars) AS dollars,
  count(DISTINCT dt) AS days,
  max(CASE WHEN basis = 'modeled' THEN 1 ELSE 0 END) AS modeled,
  min(coalesce(confirmed, 0)) AS confirmed,
  max(price_date) AS price_date,
  max(origin) AS origin,
  sum(dollars) / nullif(sum(quantity), 0) AS usd
FROM costs
WHERE dt BETWEEN ${first_day} AND ${last_day}
GROUP BY 1, 2, 3, 4
ORDER BY 1, 2, 3
