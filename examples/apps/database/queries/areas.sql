-- About 50 KB of JSON.
SELECT json_object(
    'search_type', :search_type,
    'areas', json_group_array(json_object(
        'id', id, 'name', name, 'district', district,
        'listings', listings, 'price_per_metre', price_per_metre))) AS document
FROM areas WHERE search_type = :search_type;
