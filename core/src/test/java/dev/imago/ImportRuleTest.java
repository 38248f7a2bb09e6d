package dev.imago;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.lang.classfile.ClassFile;
import java.lang.classfile.ClassModel;
import java.lang.classfile.FieldModel;
import java.lang.classfile.MethodModel;
import java.lang.classfile.constantpool.ClassEntry;
import java.lang.classfile.constantpool.MethodTypeEntry;
import java.lang.classfile.constantpool.NameAndTypeEntry;
import java.lang.classfile.constantpool.PoolEntry;
import java.net.URISyntaxException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;

/**
 * Who may know whom (docs/architecture.md, "Import rule"), read from the class files: the door
 * knows the formats, a format knows the contract, the contract knows the ground, and never the
 * other way round.
 */
class ImportRuleTest {
  private static final Pattern IN_DESCRIPTOR = Pattern.compile("L([\\w/$]+);");

  @Test
  void everyClassKnowsOnlyWhatItsRoomMayKnow() throws Exception {
    List<Path> classes = classFiles();
    Set<String> broken = new TreeSet<>();
    for (Path file : classes) {
      ClassModel model = ClassFile.of().parse(file);
      String user = model.thisClass().asInternalName().replace('/', '.');
      for (String used : usedBy(model)) {
        if (!allowed(packageOf(user), used)) {
          broken.add(user + " uses " + used);
        }
      }
    }

    assertThat(classes).isNotEmpty();
    assertThat(broken).isEmpty();
  }

  @Test
  void theRuleItselfRefusesWhatItIsThereFor() {
    assertThat(allowed("dev.imago.qcow2", "dev.imago.raw.Raw")).isFalse();
    assertThat(allowed("dev.imago.qcow2.ondisk", "dev.imago.storage.Storage")).isFalse();
    assertThat(allowed("dev.imago.qcow2.ondisk", "dev.imago.image.Image")).isFalse();
    assertThat(allowed("dev.imago.qcow2.ondisk", "java.nio.channels.FileChannel")).isFalse();
    assertThat(allowed("dev.imago.image", "dev.imago.raw.Raw")).isFalse();
    assertThat(allowed("dev.imago.image", "dev.imago.Images")).isFalse();
    assertThat(allowed("dev.imago.storage", "dev.imago.image.Image")).isFalse();
    assertThat(allowed("dev.imago.internal", "dev.imago.storage.Storage")).isFalse();
    assertThat(allowed("dev.imago", "dev.imago.qcow2.ondisk.Geometry")).isFalse();
    assertThat(allowed("dev.imago.raw", "com.github.luben.zstd.Zstd")).isFalse();
    assertThat(allowed("dev.imago.raw", "java.sql.Connection")).isFalse();
    assertThat(allowed("dev.imago.raw", "dev.imago.crypto.SectorCipher")).isFalse();
    assertThat(allowed("dev.imago.qcow2", "javax.crypto.Cipher")).isFalse();
    assertThat(allowed("dev.imago.crypto", "dev.imago.qcow2.Qcow2")).isFalse();
    assertThat(allowed("dev.imago.filter", "dev.imago.qcow2.Qcow2")).isFalse();
    assertThat(allowed("dev.imago.qcow2", "dev.imago.filter.FaultStorage")).isFalse();

    assertThat(allowed("dev.imago", "dev.imago.qcow2.Qcow2")).isTrue();
    assertThat(allowed("dev.imago.qcow2", "dev.imago.storage.Storage")).isTrue();
    assertThat(allowed("dev.imago.qcow2", "dev.imago.qcow2.ondisk.Geometry")).isTrue();
    assertThat(allowed("dev.imago.qcow2.ondisk", "dev.imago.image.ImageFormatException")).isTrue();
    assertThat(allowed("dev.imago.image", "dev.imago.storage.Storage")).isTrue();
  }

  private static boolean allowed(String user, String used) {
    String usedPackage = packageOf(used);
    if (user.endsWith(".ondisk") && usedPackage.matches("java\\.nio\\.(channels|file)(\\..*)?")) {
      return false;
    }
    if (usedPackage.equals(user)
        || usedPackage.matches("java\\.(io|lang|math|net|nio|security|text|time|util)(\\..*)?")
        || usedPackage.equals("org.jspecify.annotations")) {
      return true;
    }
    if (user.endsWith(".ondisk")) {
      return usedPackage.equals("dev.imago.image") && used.endsWith("Exception");
    }
    if (usedPackage.equals("dev.imago.internal")) {
      return true;
    }
    return switch (user) {
      case "dev.imago" -> usedPackage.startsWith("dev.imago.") && !usedPackage.endsWith(".ondisk");
      case "dev.imago.image" -> usedPackage.equals("dev.imago.storage");
      // ExtendedOpenOption.DIRECT
      case "dev.imago.storage" -> usedPackage.equals("com.sun.nio.file");
      case "dev.imago.internal" -> false;
      case "dev.imago.filter" ->
          usedPackage.equals("dev.imago.image") || usedPackage.equals("dev.imago.storage");
      case "dev.imago.crypto" ->
          usedPackage.equals("dev.imago.image")
              || usedPackage.equals("dev.imago.storage")
              || usedPackage.startsWith("javax.crypto");
      // What is left is a format.
      default ->
          usedPackage.equals("dev.imago.image")
              || usedPackage.equals("dev.imago.storage")
              || usedPackage.equals(user + ".ondisk")
              || (user.equals("dev.imago.qcow2") && usedPackage.equals("dev.imago.crypto"))
              || (user.equals("dev.imago.qcow2") && usedPackage.equals("com.github.luben.zstd"));
    };
  }

  private static String packageOf(String className) {
    return className.substring(0, className.lastIndexOf('.'));
  }

  private static Set<String> usedBy(ClassModel model) {
    Set<String> used = new TreeSet<>();
    for (PoolEntry entry : model.constantPool()) {
      switch (entry) {
        case ClassEntry c when c.asInternalName().startsWith("[") ->
            addFromDescriptor(used, c.asInternalName());
        case ClassEntry c -> used.add(c.asInternalName().replace('/', '.'));
        case NameAndTypeEntry n -> addFromDescriptor(used, n.type().stringValue());
        case MethodTypeEntry m -> addFromDescriptor(used, m.descriptor().stringValue());
        default -> {}
      }
    }
    for (MethodModel method : model.methods()) {
      addFromDescriptor(used, method.methodType().stringValue());
    }
    for (FieldModel field : model.fields()) {
      addFromDescriptor(used, field.fieldType().stringValue());
    }
    return used;
  }

  private static void addFromDescriptor(Set<String> used, String descriptor) {
    Matcher matcher = IN_DESCRIPTOR.matcher(descriptor);
    while (matcher.find()) {
      used.add(matcher.group(1).replace('/', '.'));
    }
  }

  private static List<Path> classFiles() throws IOException, URISyntaxException {
    Path root = Path.of(Images.class.getProtectionDomain().getCodeSource().getLocation().toURI());
    try (Stream<Path> files = Files.walk(root)) {
      return files
          .filter(f -> f.toString().endsWith(".class"))
          .filter(f -> !f.endsWith("module-info.class"))
          .toList();
    }
  }
}
