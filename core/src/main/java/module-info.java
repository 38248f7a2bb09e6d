/**
 * Virtual disk images for the JVM.
 *
 * <p>Packages named {@code ondisk} and {@code internal} stay closed.
 */
module dev.imago {
  exports dev.imago;
  exports dev.imago.filter;
  exports dev.imago.image;
  exports dev.imago.qcow2;
  exports dev.imago.raw;
  exports dev.imago.storage;

  requires static transitive org.jspecify;
  requires com.github.luben.zstd_jni;
}
