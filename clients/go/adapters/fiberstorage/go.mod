module larder.test/clients/go/adapters/fiberstorage

go 1.26.0

require larder.test/clients/go v0.0.0

replace larder.test/clients/go => ../../
