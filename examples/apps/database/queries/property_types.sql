-- About 20 KB of JSON.
SELECT json_object(
    'search_type', :search_type,
    'property_types', json_group_array(json_object(
        'id', id, 'name', name, 'description', description, 'listings', listings))) AS document
FROM property_types WHERE search_type = :search_type;
