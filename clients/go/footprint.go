package larder

import "reflect"

// mapEntryBytes is what an entry of a map takes besides its key and its value.
const mapEntryBytes = 16

// visited is a place in memory. A struct and its first field have the same address.
type visited struct {
	address uintptr
	kind    reflect.Type
}

// footprint is about how many bytes of memory a value takes. Memory that is reachable in two ways
// counts once if that is by equal pointers, maps or slices.
func footprint(value any) int {
	if value == nil {
		return 0
	}
	v := reflect.ValueOf(value)
	return int(v.Type().Size()) + heldBytes(v, map[visited]bool{})
}

// heldBytes is the memory that a value refers to.
func heldBytes(v reflect.Value, seen map[visited]bool) int {
	switch v.Kind() {
	case reflect.String:
		return v.Len()
	case reflect.Interface:
		if v.IsNil() {
			return 0
		}
		return int(v.Elem().Type().Size()) + heldBytes(v.Elem(), seen)
	case reflect.Pointer:
		if v.IsNil() || again(v, seen) {
			return 0
		}
		return int(v.Type().Elem().Size()) + heldBytes(v.Elem(), seen)
	case reflect.Slice:
		if v.Cap() == 0 || again(v, seen) {
			return 0
		}
		return v.Cap()*int(v.Type().Elem().Size()) + heldByMembers(v, seen)
	case reflect.Array:
		return heldByMembers(v, seen)
	case reflect.Map:
		if v.IsNil() || again(v, seen) {
			return 0
		}
		size := int(v.Type().Key().Size()+v.Type().Elem().Size()) + mapEntryBytes
		sum := v.Len() * size
		for each := v.MapRange(); each.Next(); {
			sum += heldBytes(each.Key(), seen) + heldBytes(each.Value(), seen)
		}
		return sum
	case reflect.Struct:
		sum := 0
		for i := range v.NumField() {
			sum += heldBytes(v.Field(i), seen)
		}
		return sum
	}
	return 0
}

// again reports whether a pointer, a map or a slice was there before.
func again(v reflect.Value, seen map[visited]bool) bool {
	place := visited{v.Pointer(), v.Type()}
	if seen[place] {
		return true
	}
	seen[place] = true
	return false
}

func heldByMembers(v reflect.Value, seen map[visited]bool) int {
	if kind := v.Type().Elem().Kind(); kind >= reflect.Bool && kind <= reflect.Complex128 {
		return 0
	}
	sum := 0
	for i := range v.Len() {
		sum += heldBytes(v.Index(i), seen)
	}
	return sum
}
