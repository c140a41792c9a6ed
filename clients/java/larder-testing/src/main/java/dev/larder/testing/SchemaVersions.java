package dev.larder.testing;

import com.google.protobuf.Descriptors.FieldDescriptor;
import com.google.protobuf.Descriptors.FieldDescriptor.JavaType;
import com.google.protobuf.Message;

/** Makes the schema version of a client a part of the names of its entries: one more param. */
final class SchemaVersions {
  /** No program has a param of this name: it is not valid in a header. */
  private static final String PARAM = "schema version";

  private SchemaVersions() {}

  /** The request for the entries of a version. */
  static Message apply(Message request, String version) {
    Message.Builder changed = request.toBuilder();
    for (FieldDescriptor field : request.getDescriptorForType().getFields()) {
      if (field.getName().equals("params")) {
        Message.Builder entry = changed.newBuilderForField(field);
        entry.setField(field.getMessageType().findFieldByName("key"), PARAM);
        entry.setField(field.getMessageType().findFieldByName("value"), version);
        changed.addRepeatedField(field, entry.build());
      } else if (field.isMapField() || field.getJavaType() != JavaType.MESSAGE) {
        continue;
      } else if (field.isRepeated()) {
        for (int index = 0; index < request.getRepeatedFieldCount(field); index++) {
          Message member = (Message) request.getRepeatedField(field, index);
          changed.setRepeatedField(field, index, apply(member, version));
        }
      } else if (field.getName().equals("key") && request.hasField(field)) {
        changed.setField(field, apply((Message) request.getField(field), version));
      }
    }
    return changed.build();
  }
}
