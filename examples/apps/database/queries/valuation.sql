-- The comparable sales of a property, about 5 KB of JSON, and what they cost on average.
SELECT json_object(
    'area', :area,
    'property_type', :property_type,
    'square_metres', :square_metres,
    'estimate', round(avg(1.0 * price / square_metres) * :square_metres),
    'comparables', json_group_array(json_object(
        'id', id, 'square_metres', square_metres, 'price', price, 'sold', sold))) AS document
FROM (SELECT * FROM sales WHERE area = :area AND property_type = :property_type
      ORDER BY abs(square_metres - :square_metres), id LIMIT 60);
