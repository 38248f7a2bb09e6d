package dev.imago.testing;

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
import java.util.function.BiPredicate;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/** Which classes a module's classes know, read from the class files. */
public final class ClassUses {
  private static final Pattern IN_DESCRIPTOR = Pattern.compile("L([\\w/$]+);");

  private final List<Path> files;

  private ClassUses(List<Path> files) {
    this.files = files;
  }

  /** Of all classes that were built together with this one. */
  public static ClassUses of(Class<?> one) throws IOException, URISyntaxException {
    Path root = Path.of(one.getProtectionDomain().getCodeSource().getLocation().toURI());
    try (Stream<Path> files = Files.walk(root)) {
      return new ClassUses(
          files
              .filter(f -> f.toString().endsWith(".class"))
              .filter(f -> !f.endsWith("module-info.class"))
              .toList());
    }
  }

  /**
   * Who knows whom although the rule says no.
   *
   * @param rule given a package and a class that something in it uses
   */
  public Set<String> breaking(BiPredicate<String, String> rule) throws IOException {
    assertThat(files).isNotEmpty();
    Set<String> broken = new TreeSet<>();
    for (Path file : files) {
      ClassModel model = ClassFile.of().parse(file);
      String user = model.thisClass().asInternalName().replace('/', '.');
      for (String used : usedBy(model)) {
        if (!rule.test(packageOf(user), used)) {
          broken.add(user + " uses " + used);
        }
      }
    }
    return broken;
  }

  /** The package of a class. */
  public static String packageOf(String className) {
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
}
