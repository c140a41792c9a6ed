package dev.larder.spring.tests;

/** Annotations of methods. */
class MethodAnnotationsTest extends AnnotationContract {
  @Override
  Class<? extends CacheableService> serviceType() {
    return AnnotatedService.class;
  }

  @Override
  String nameKey() {
    return "name";
  }
}
