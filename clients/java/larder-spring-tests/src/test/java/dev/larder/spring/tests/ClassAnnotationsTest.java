package dev.larder.spring.tests;

/** Annotations of a class. */
class ClassAnnotationsTest extends AnnotationContract {
  @Override
  Class<? extends CacheableService> serviceType() {
    return ClassAnnotatedService.class;
  }

  @Override
  String nameKey() {
    return "nametestCache";
  }
}
