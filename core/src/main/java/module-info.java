/**
 * Virtual disk images for the JVM.
 *
 * <p>An export is added with the first class of its package ({@code dev.imago.qcow2} is still to
 * come). Packages named {@code ondisk} and {@code internal} stay closed.
 */
module dev.imago {
  exports dev.imago;
  exports dev.imago.image;
  exports dev.imago.raw;
  exports dev.imago.storage;

  requires static transitive org.jspecify;
  requires com.github.luben.zstd_jni;
}
