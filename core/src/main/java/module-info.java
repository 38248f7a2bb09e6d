/**
 * Virtual disk images for the JVM.
 *
 * <p>Packages named {@code ondisk} and {@code internal} stay closed, but for buffers and system
 * calls that the rooms beside this module share.
 */
@SuppressWarnings("module") // they are built after this one
module dev.imago {
  exports dev.imago;
  exports dev.imago.filter;
  exports dev.imago.image;
  exports dev.imago.qcow2;
  exports dev.imago.raw;
  exports dev.imago.storage;
  exports dev.imago.internal to
      dev.imago.cli,
      dev.imago.nbd;

  requires static transitive org.jspecify;
  requires com.github.luben.zstd_jni;
}
