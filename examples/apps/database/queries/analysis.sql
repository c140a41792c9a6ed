-- What a property at the address would cost: the sales of all areas, weighted by the address.
SELECT json_object(
    'address', :address,
    'rent', 900 + length(:address) * 17,
    'price', round(avg(price)),
    'lowest', min(price), 'highest', max(price),
    'sales', count(*)) AS document
FROM sales WHERE id % 50 = length(:address) % 50;
