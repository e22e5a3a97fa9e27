-- What each day's usage comes to by the list prices: modeled from public lists, not a bill. Airflow itself, the
-- streamer's machine, network, logs, keys and taxes are not in it.
--
-- Columns:
--   dt varchar: Day, UTC, yyyy-MM-dd
--   stage varchar: What for: collect, recover, sentiment, translation, query, a DAG, show, or a layer of the lake
--   service varchar: The service of the price list
--   item varchar: The item of the price list
--   unit varchar: The unit of the quantity
--   quantity double: How much was used
--   basis varchar: measured: counted; modeled: it follows from assumptions
--   origin varchar: How the quantity is known, or what is assumed
--   usd double: List price of one unit in US dollars; null if the list has none
--   price_date varchar: The day of that price, yyyy-MM-dd
--   confirmed integer: 1 if the price list says what confirms the price, else 0
--   dollars double: Quantity times list price in US dollars; null if the list has no price
SELECT
  dt,
  stage,
  service,
  item,
  unit,
  quantity,
  basis,
  origin,
  usd,
  price_date,
  confirmed,
  quantity * usd AS dollars
FROM usage
